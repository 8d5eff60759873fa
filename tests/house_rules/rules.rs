//! The rules of the house, and how a source file breaks them.

use std::collections::BTreeSet;

use crate::source::{self, Mention};

/// A source file of one of the two crates.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Within the crate's `src`, as in `proto/wire.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One of the two crates.
#[derive(Debug)]
pub(crate) struct Crate {
    pub(crate) name: &'static str,
    pub(crate) files: Vec<File>,
    /// The names of all crates that its manifest depends on, as Rust spells them.
    pub(crate) dependencies: BTreeSet<String>,
}

/// Who may name what.
struct Rule {
    krate: &'static str,
    /// The rule is for this module and what is below it.
    module: &'static str,
    /// Crates that may be named besides `std`; `None` for any but those in [`ONLY_IN`].
    may: Option<&'static [&'static str]>,
    /// Modules of ours that may not be named, tests or not.
    may_not: &'static [&'static str],
    /// Modules of ours that only tests may name.
    above: &'static [&'static str],
}

pub(crate) const ROOT: &str = "smol-gossip";
pub(crate) const RUNTIME: &str = "smol-gossip-runtime";

const RULES: &[Rule] = &[
    Rule {
        krate: RUNTIME,
        module: "crate",
        may: Some(&[
            "async_executor",
            "async_io",
            "atomic_waker",
            "futures_lite",
            "loom",
            "slab",
            "smallvec",
        ]),
        may_not: &[],
        above: &[],
    },
    Rule {
        krate: ROOT,
        module: "crate::proto",
        may: Some(&[
            "blake3",
            "bytes",
            "data_encoding",
            "derive_more",
            "hex",
            "indexmap",
            "postcard",
            "rand",
            "serde",
            "siphasher",
            "slab",
            "smallvec",
            "tracing",
        ]),
        may_not: &[
            "crate::api",
            "crate::metrics",
            "crate::net",
            "crate::rpc",
            "crate::sim",
        ],
        above: &[],
    },
    Rule {
        krate: ROOT,
        module: "crate::proto::hyparview",
        may: None,
        may_not: &["crate::proto::plumtree"],
        above: &["crate::proto::state", "crate::proto::topic"],
    },
    Rule {
        krate: ROOT,
        module: "crate::proto::plumtree",
        may: None,
        may_not: &["crate::proto::hyparview"],
        above: &["crate::proto::state", "crate::proto::topic"],
    },
    Rule {
        krate: ROOT,
        module: "crate::proto::topic",
        may: None,
        may_not: &[],
        above: &["crate::proto::state"],
    },
    Rule {
        krate: ROOT,
        module: "crate::api",
        may: Some(&[
            "async_channel",
            "bytes",
            "derive_more",
            "futures_lite",
            "iroh_base",
            "irpc",
            "n0_error",
            "n0_future",
            "serde",
            "tracing",
        ]),
        may_not: &["crate::metrics", "crate::net", "crate::rpc", "crate::sim"],
        above: &[],
    },
    Rule {
        krate: ROOT,
        module: "crate::metrics",
        may: None,
        may_not: &["crate::api", "crate::net", "crate::rpc", "crate::sim"],
        above: &[],
    },
    Rule {
        krate: ROOT,
        module: "crate::net",
        may: None,
        may_not: &["crate::rpc", "crate::sim"],
        above: &[],
    },
    Rule {
        krate: ROOT,
        module: "crate::rpc",
        may: Some(&[
            "async_channel",
            "bytes",
            "futures_lite",
            "iroh_base",
            "irpc",
            "n0_error",
            "postcard",
            "serde",
            "tracing",
        ]),
        may_not: &["crate::sim"],
        above: &[],
    },
    // A program that is only a client has no node in it.
    Rule {
        krate: ROOT,
        module: "crate::rpc::client",
        may: None,
        may_not: &["crate::metrics", "crate::net", "crate::rpc::server"],
        above: &[],
    },
    Rule {
        krate: ROOT,
        module: "crate::sim",
        may: Some(&[
            "slab",
            "smallvec",
            "bytes",
            "clap",
            "derive_more",
            "indexmap",
            "rand",
            "serde",
            "slab",
            "smallvec",
            "smol_gossip_runtime",
            "tracing",
        ]),
        may_not: &["crate::api", "crate::metrics", "crate::net", "crate::rpc"],
        above: &[],
    },
];

/// Crates that one place of each of our crates may name, and nobody else.
const ONLY_IN: &[(&str, &str, &str)] = &[
    ("tokio", RUNTIME, "crate::shim"),
    ("async_io", RUNTIME, "crate::shim"),
    ("tokio", ROOT, "crate::rpc"),
    ("noq", ROOT, "crate::rpc"),
];

/// What code that is given its time and its chance must not call. The name of the type or module,
/// and the function.
const AMBIENT: &[(&str, &str)] = &[
    ("Instant", "now"),
    ("SystemTime", "now"),
    ("rand", "rng"),
    ("rand", "random"),
    ("rand", "thread_rng"),
    ("thread", "spawn"),
    ("thread", "sleep"),
];

/// Modules that [`AMBIENT`] is forbidden to.
const PURE: &[(&str, &str)] = &[(ROOT, "crate::proto"), (ROOT, "crate::sim")];

const MAX_LINES: usize = 600;

/// Every breach of the rules in a crate, as a sentence.
pub(crate) fn breaches(krate: &Crate) -> Vec<String> {
    let modules: Vec<Vec<String>> = krate.files.iter().map(|f| module_of(&f.path)).collect();
    let sources: Vec<source::Source> = krate
        .files
        .iter()
        .zip(&modules)
        .map(|(file, module)| {
            let module: Vec<&str> = module.iter().map(String::as_str).collect();
            source::read(&file.text, &module)
        })
        .collect();
    let test_modules: Vec<&Vec<String>> = sources.iter().flat_map(|s| &s.test_modules).collect();

    let mut breaches = Vec::new();
    for ((file, module), source) in krate.files.iter().zip(&modules).zip(&sources) {
        let mut breach =
            |what: String| breaches.push(format!("{}: {}: {what}", krate.name, file.path));
        if !file.text.starts_with("//!") {
            breach("does not begin with `//!`, which says what it is".into());
        }
        let lines = file.text.lines().count();
        if lines >= MAX_LINES {
            breach(format!("{lines} lines, and {MAX_LINES} is too many"));
        }
        let file_is_test = test_modules.iter().any(|test| module.starts_with(test));
        for mention in &source.mentions {
            let mention = Mention {
                in_tests: mention.in_tests || file_is_test,
                ..mention.clone()
            };
            if let Some(what) = breach_of(krate, module, &mention) {
                breach(what);
            }
        }
    }
    breaches.dedup();
    breaches
}

/// The module that a file is: `proto/wire.rs` is `crate::proto::wire`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let parts = path
        .split('/')
        .filter(|part| !["lib", "main", "mod"].contains(part));
    std::iter::once("crate")
        .chain(parts)
        .map(str::to_string)
        .collect()
}

fn is_within(path: &[String], module: &str) -> bool {
    let mut path = path.iter();
    module
        .split("::")
        .all(|name| path.next().is_some_and(|part| part == name))
}

fn breach_of(krate: &Crate, module: &[String], mention: &Mention) -> Option<String> {
    let path = mention.path.join("::");
    let first = mention.path.first()?;
    for rule in RULES {
        if rule.krate != krate.name || !is_within(module, rule.module) {
            continue;
        }
        let names_one_of =
            |modules: &[&str]| modules.iter().any(|name| is_within(&mention.path, name));
        if names_one_of(rule.may_not) || (!mention.in_tests && names_one_of(rule.above)) {
            return Some(format!("{} may not name `{path}`", rule.module));
        }
        let external = krate.dependencies.contains(first);
        let special = ONLY_IN
            .iter()
            .any(|(name, at, _)| name == first && *at == krate.name);
        if let Some(may) = rule.may
            && external
            && !special
            && !mention.in_tests
            && !may.contains(&first.as_str())
        {
            return Some(format!("{} may not use the crate of `{path}`", rule.module));
        }
    }
    if mention.in_tests {
        return None;
    }
    for (name, at, place) in ONLY_IN {
        if *at == krate.name && first == name && !is_within(module, place) {
            return Some(format!("only {place} may use the crate of `{path}`"));
        }
    }
    let pure = PURE
        .iter()
        .any(|(at, pure)| *at == krate.name && is_within(module, pure));
    let ambient = AMBIENT.iter().any(|(of, function)| {
        mention
            .path
            .windows(2)
            .any(|pair| pair[0] == *of && pair[1] == *function)
    });
    if pure && ambient {
        return Some(format!(
            "`{path}` is not for code that is given time and chance"
        ));
    }
    None
}

/// What a manifest lacks of the lints that all code is under.
pub(crate) fn manifest_breaches(workspace: &str, members: &[(&str, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    let workspace_lints = section(workspace, "workspace.lints.rust");
    for lint in [r#"unsafe_code = "forbid""#, r#"missing_docs = "deny""#] {
        if !workspace_lints.contains(&lint) {
            breaches.push(format!("the workspace does not say {lint}"));
        }
    }
    for (name, manifest) in members {
        if !section(manifest, "lints").contains(&"workspace = true") {
            breaches.push(format!("{name} does not take its lints from the workspace"));
        }
    }
    breaches
}

/// The names of the crates that a manifest depends on.
pub(crate) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let headers = manifest
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    for header in headers.filter(|header| header.ends_with("dependencies")) {
        for line in section(manifest, header) {
            if let Some((name, _)) = line.split_once('=') {
                let name = name.trim().trim_end_matches(".workspace");
                found.insert(name.replace('-', "_"));
            }
        }
    }
    found
}

/// The lines of a section of a manifest, without comments.
fn section<'a>(manifest: &'a str, header: &str) -> Vec<&'a str> {
    let header = format!("[{header}]");
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}
