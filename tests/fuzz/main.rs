//! What the fuzzer has found holds.
//!
//! Every entry of the corpus in `tests/corpus` is run through its target, as the fuzzer in `fuzz/`
//! does, and with the overflow checks and debug assertions of this build. An entry that once
//! broke something stays there.

#[path = "targets/mod.rs"]
mod targets;

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(target)
}

fn entries(target: &str) -> Vec<PathBuf> {
    let folder = folder(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn the_corpus_holds() {
    let mut broken = Vec::new();
    for (name, run) in targets::ALL {
        let paths = entries(name);
        assert!(!paths.is_empty(), "{name} has a corpus");
        for path in paths {
            let data = fs::read(&path).unwrap();
            let result = panic::catch_unwind(AssertUnwindSafe(|| run(&data)));
            if result.is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A long run of bytes that nobody chose. Where the corpus is lacking, so are these, but they cost
/// little and never are the same in two targets.
#[test]
fn noise_holds() {
    for (name, run) in targets::ALL {
        for seed in 0..64_u32 {
            let mut noise = blake3::Hasher::new()
                .update(name.as_bytes())
                .update(&seed.to_be_bytes())
                .finalize_xof();
            let mut data = vec![0; 8 << (seed % 10)];
            noise.fill(&mut data);
            run(&data);
        }
    }
}
