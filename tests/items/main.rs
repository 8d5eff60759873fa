//! Every item of `iroh_gossip` 0.101 that `docs/drop-in.md` says is here is here, with the same
//! signature.
//!
//! `items.rs` names each of them, in a piece of code that needs it to be what it is. That text is
//! compiled twice: against this crate, and against upstream's, so it says nothing that is not true
//! there.
#![cfg(all(feature = "net", feature = "metrics", feature = "rpc"))]

use std::collections::BTreeSet;

/// Makes a function of each piece of code, which is compiled and never called, and a list of the
/// names.
macro_rules! items {
    ($($name:literal $code:block)*) => {
        pub(super) const NAMES: &[&str] = &[$($name),*];

        pub(super) fn compiled() {
            $({
                #[allow(unused, clippy::all)]
                fn item() $code
                let _ = item;
            })*
        }
    };
}

mod ours {
    use smol_gossip as gossip;
    include!("items.rs");
}

mod upstream {
    use iroh_gossip as gossip;
    include!("items.rs");
}

/// The items of the table, each with what is said of it.
fn table() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../../docs/drop-in.md");
    let rows = page.lines().filter_map(|line| {
        let (item, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (status, _) = rest.split_once(" |")?;
        Some((item, status))
    });
    rows.collect()
}

#[test]
fn what_the_table_calls_the_same_compiles_for_both() {
    ours::compiled();
    upstream::compiled();
    assert_eq!(ours::NAMES, upstream::NAMES);

    let said: Vec<_> = table()
        .into_iter()
        .filter(|(_, status)| ["same", "same, behaves better"].contains(status))
        .map(|(item, _)| item)
        .collect();
    let said_once: BTreeSet<_> = said.iter().copied().collect();
    assert_eq!(said.len(), said_once.len(), "an item stands twice");
    let compiled: BTreeSet<_> = ours::NAMES.iter().copied().collect();
    assert_eq!(compiled.len(), ours::NAMES.len(), "an item is named twice");
    let unproven: Vec<_> = said_once.difference(&compiled).collect();
    let unsaid: Vec<_> = compiled.difference(&said_once).collect();
    assert!(
        unproven.is_empty() && unsaid.is_empty(),
        "in the table without code: {unproven:?}; with code and not in the table: {unsaid:?}"
    );
}

#[test]
fn whatever_differs_has_a_reason() {
    let migration = include_str!("../../MIGRATION.md");
    let page = include_str!("../../docs/drop-in.md");
    let mut different = 0;
    for (item, status) in table() {
        match status {
            "same" | "same, behaves better" => {}
            "differs" | "absent" => {
                different += 1;
                let row = page
                    .lines()
                    .find(|line| line.contains(&format!("| `{item}` |")));
                let row = row.expect("it came from there");
                let reason = row.split('|').nth(3).unwrap_or_default().trim();
                let reason = reason.trim_matches('*');
                assert!(
                    !reason.is_empty() && migration.contains(&format!("**{reason}**")),
                    "{item}: MIGRATION.md has no paragraph {reason:?}"
                );
            }
            other => panic!("{item}: what is {other:?}?"),
        }
    }
    assert!(different > 0, "the table was read");
}
