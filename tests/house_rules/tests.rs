//! The rules themselves are held against sources made up to break them.

use crate::rules::{Crate, File, ROOT, RUNTIME, breaches, dependencies, manifest_breaches};

const MANIFEST: &str = "
[dependencies]
bytes = { version = \"1\" }
# a comment
iroh = \"1\"
irpc = \"1\"
smol-gossip-runtime.workspace = true
tokio = \"1\"

[lints]
workspace = true

[dev-dependencies]
proptest = \"1\"
";

fn breaches_of(name: &'static str, files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(path, text)| File {
        path: path.to_string(),
        text: format!("//! What it is.\n{text}"),
    });
    breaches(&Crate {
        name,
        files: files.collect(),
        dependencies: dependencies(MANIFEST),
    })
}

#[track_caller]
fn assert_caught(name: &'static str, path: &str, text: &str, named: &str) {
    let found = breaches_of(name, &[(path, text)]);
    assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    assert!(found[0].contains(named), "{found:?}");
}

#[track_caller]
fn assert_kept(name: &'static str, path: &str, text: &str) {
    let found = breaches_of(name, &[(path, text)]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_layers_do_not_know_each_other() {
    let path = "proto/hyparview/view.rs";
    for text in [
        "use crate::proto::plumtree::Round;",
        "use super::super::plumtree;",
        "use crate::{proto::{PeerInfo, plumtree as broadcast}, sim2};",
        "fn f() { crate::proto::plumtree::f() }",
        "mod inner { use super::super::super::plumtree::Round; }",
        "pub(in crate::proto::plumtree) struct S;",
    ] {
        assert_caught(ROOT, path, text, "crate::proto::plumtree");
    }
    let text = "use super::hyparview::Ttl;";
    assert_caught(ROOT, "proto/plumtree.rs", text, "crate::proto::hyparview");
    assert_kept(ROOT, "proto/topic.rs", "use super::{hyparview, plumtree};");
    assert_kept(
        ROOT,
        path,
        "use super::{Config, message}; use crate::proto::PeerInfo;",
    );
}

#[test]
fn the_protocol_knows_nothing_of_the_world() {
    let path = "proto/wire.rs";
    for (text, named) in [
        ("use crate::net::Gossip;", "crate::net"),
        ("use crate::{metrics::Metrics};", "crate::metrics"),
        ("use tokio::time;", "tokio::time"),
        ("use iroh::PublicKey;", "iroh::PublicKey"),
        ("use smol_gossip_runtime::Wheel;", "smol_gossip_runtime"),
        ("type Id = iroh::PublicKey;", "iroh::PublicKey"),
        ("fn f() { let now = Instant::now(); }", "Instant::now"),
        (
            "fn f() { let now = std::time::Instant::now(); }",
            "Instant::now",
        ),
        ("fn f() { let mut rng = rand::rng(); }", "rand::rng"),
        ("use rand::rng;", "rand::rng"),
        ("use rand::{Rng, random};", "rand::random"),
    ] {
        assert_caught(ROOT, path, text, named);
    }
    assert_kept(ROOT, path, "use bytes::Bytes; use std::time::Instant;");
}

#[test]
fn the_api_talks_to_the_net_over_channels_only() {
    let text = "use crate::net::Driver;";
    assert_caught(ROOT, "api/sender.rs", text, "crate::net");
    assert_caught(ROOT, "api.rs", "use iroh::Endpoint;", "iroh");
    assert_kept(
        ROOT,
        "net.rs",
        "use crate::{api::Event, proto}; use iroh::Endpoint;",
    );
}

#[test]
fn tokio_has_its_place() {
    for path in ["net.rs", "net/dial.rs", "lib.rs", "api.rs"] {
        assert_caught(ROOT, path, "use tokio::sync::mpsc;", "tokio");
    }
    assert_kept(ROOT, "rpc.rs", "use tokio::sync::mpsc;");
    assert_kept(ROOT, "rpc/client.rs", "use noq::RecvStream;");
    assert_caught(ROOT, "net.rs", "use noq::Endpoint;", "noq");
    assert_caught(ROOT, "rpc.rs", "use iroh::Endpoint;", "iroh");
    assert_kept(ROOT, "rpc/server.rs", "use crate::net::Gossip;");
    assert_caught(
        ROOT,
        "rpc/client.rs",
        "use crate::net::Gossip;",
        "crate::net",
    );
    assert_caught(RUNTIME, "wheel.rs", "use tokio::time::Sleep;", "tokio");
    assert_kept(RUNTIME, "shim/tokio.rs", "use tokio::time::Sleep;");
    assert_caught(RUNTIME, "shim/tokio.rs", "use iroh::Endpoint;", "iroh");
}

#[test]
fn tests_may_use_other_crates_and_look_up_but_not_across() {
    let with_tests = |inner: &'static str| {
        let files = [
            ("proto/wire.rs", "#[cfg(test)]\nmod tests;"),
            ("proto/wire/tests.rs", inner),
        ];
        breaches_of(ROOT, &files)
    };
    assert!(with_tests("use iroh::PublicKey; fn f() { Instant::now(); }").is_empty());
    assert_eq!(with_tests("use crate::net::Gossip;").len(), 1);
    let up = "#[cfg(test)] mod tests { use crate::proto::topic; }";
    assert_kept(ROOT, "proto/plumtree.rs", up);
    let up = "use crate::proto::topic;";
    assert_caught(ROOT, "proto/plumtree.rs", up, "crate::proto::topic");
    let across = "#[cfg(test)] mod tests { use crate::proto::hyparview; }";
    assert_caught(ROOT, "proto/plumtree.rs", across, "crate::proto::hyparview");
    let inline = "#[cfg(test)] mod tests { use proptest::prelude::*; }\n";
    assert_kept(ROOT, "proto/wire.rs", inline);
    let after = "#[cfg(test)] mod tests { use proptest::prelude::*; }\nuse iroh::Endpoint;";
    assert_caught(ROOT, "proto/wire.rs", after, "iroh::Endpoint");
    let not_test = "#[cfg(feature = \"x\")] mod tests { use proptest::prelude::*; }";
    assert_caught(ROOT, "proto/wire.rs", not_test, "proptest::prelude");
}

#[test]
fn comments_and_strings_name_nothing() {
    for text in [
        "// use tokio::time;",
        "/* use tokio::time; /* nested */ use iroh::Endpoint; */",
        "/// [`tokio::time`]\nfn f() {}",
        "const S: &str = \"use tokio::time; \\\" tokio::time\";",
        "const S: &str = r#\"use tokio::time; \" tokio::time\"#;",
        "const C: char = '\"'; const D: char = '\\''; // tokio::time",
        "fn f<'a>(x: &'a str) {} const S: &str = \"tokio::time\";",
    ] {
        assert_kept(ROOT, "proto/wire.rs", text);
    }
    let text = "const C: char = '\"'; use tokio::time; const D: char = '\"';";
    assert_caught(ROOT, "proto/wire.rs", text, "tokio::time");
}

#[test]
fn every_file_has_its_form() {
    let krate = |text: String| Crate {
        name: ROOT,
        files: vec![File {
            path: "proto.rs".into(),
            text,
        }],
        dependencies: Default::default(),
    };
    assert!(breaches(&krate("//! What it is.\n".into())).is_empty());
    let found = breaches(&krate("use std::fmt;\n".into()));
    assert!(found.len() == 1 && found[0].contains("//!"), "{found:?}");
    let found = breaches(&krate("//! Much.\n".repeat(600)));
    assert!(
        found.len() == 1 && found[0].contains("600 lines"),
        "{found:?}"
    );
    assert!(breaches(&krate("//! Much.\n".repeat(599))).is_empty());
}

#[test]
fn manifests_forbid_unsafe_code() {
    let workspace = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"deny\"\n";
    assert!(manifest_breaches(workspace, &[("a", MANIFEST)]).is_empty());
    let found = manifest_breaches("[workspace.lints.rust]\n", &[("a", "[lints]\n")]);
    assert_eq!(found.len(), 3, "{found:?}");
    let wrong_place = "[package]\nworkspace = true\n";
    assert_eq!(manifest_breaches(workspace, &[("a", wrong_place)]).len(), 1);
}
