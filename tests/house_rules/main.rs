//! The rules of the house: who may know whom, no ambient time or chance in the protocol, and the
//! form of every file. `ARCHITECTURE.md` says why.

mod rules;
mod source;
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rules::{Crate, File, ROOT, RUNTIME, breaches, dependencies, manifest_breaches};

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below `folder`, in a fixed order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn load(name: &'static str, folder: &Path) -> Crate {
    let src = folder.join("src");
    let files = rust_files(&src).into_iter().map(|path| File {
        text: read(&path),
        path: path
            .strip_prefix(&src)
            .unwrap()
            .display()
            .to_string()
            .replace('\\', "/"),
    });
    Crate {
        name,
        files: files.collect(),
        dependencies: dependencies(&read(&folder.join("Cargo.toml"))),
    }
}

#[test]
fn the_sources_keep_the_rules() {
    let mut found = breaches(&load(ROOT, &here()));
    found.extend(breaches(&load(RUNTIME, &here().join("runtime"))));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_manifests_keep_the_rules() {
    let root = read(&here().join("Cargo.toml"));
    let runtime = read(&here().join("runtime/Cargo.toml"));
    let found = manifest_breaches(&root, &[(ROOT, &root), (RUNTIME, &runtime)]);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
