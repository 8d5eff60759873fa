# Parts of `.ci/weekly` about the crates as others see them: features, versions, dependencies, the
# package, and programs that depend on it. Sourced, not run.

parts+=(dependents ported features minimal msrv api licences unused package upstream)

# The parts below change directories.
target=$(realpath -m "$target")

# Tools are installed where they are missing. They build with the stable toolchain.
need() {
    command -v "$1" >/dev/null || cargo install --locked "$1"
}

# A copy of what is committed or about to be, for parts that change the lock file.
copy_to() {
    rm -rf "$1" && mkdir -p "$1" &&
        git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$1"
}

# Where cargo keeps the sources of a package that the manifest $2 depends on.
source_of() {
    cargo metadata --format-version 1 --locked --manifest-path "$2" |
        python3 -c 'import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1] and package["source"]:
        print(os.path.dirname(package["manifest_path"]))' "$1"
}

# iroh-docs over this crate: two nodes and a document, and iroh-docs' own tests.
part_dependents() {
    local manifest=tests/dependents/Cargo.toml failed=0
    local -x CARGO_TARGET_DIR="$target/dependents"
    cargo test --locked --manifest-path "$manifest" --workspace || failed=1
    docs_tests "$(source_of iroh-docs "$manifest")" || failed=1
    return "$failed"
}

# Each test of iroh-docs that passes over iroh-gossip itself passes over this crate. Some of them fail now and
# then over either, or always on a machine of some kind: a sync whose connection is closed too soon, and that
# nobody tries again. So each is tried up to five times.
docs_tests() {
    local ours="$target/dependents/iroh-docs" theirs="$target/dependents/iroh-docs-as-it-is" copy name failed=0
    for copy in "$ours" "$theirs"; do
        rm -rf "$copy" && cp -r "$1" "$copy" || return 1
        # What is in the copy is cargo's, read-only or with a lock file of another patch.
        chmod -R u+w "$copy" && rm -f "$copy/Cargo.lock"
        printf '\n[workspace]\n' >>"$copy/Cargo.toml"
    done
    printf '\n[patch.crates-io]\niroh-gossip = { path = "%s" }\n' "$PWD/tests/dependents/iroh-gossip" \
        >>"$ours/Cargo.toml"
    say "iroh-docs' own tests"
    local tests=(cargo test --test sync --test client --manifest-path)
    "${tests[@]}" "$ours/Cargo.toml" --no-run || return 1
    "${tests[@]}" "$ours/Cargo.toml" --no-fail-fast | tee "$target/dependents/first" || true
    grep -q ' \.\.\. ok$' "$target/dependents/first" || return 1
    for name in $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$target/dependents/first"); do
        passes "${tests[@]}" "$ours/Cargo.toml" -- --exact "$name" && continue
        if passes "${tests[@]}" "$theirs/Cargo.toml" -- --exact "$name"; then
            echo "$name fails over this crate alone" >&2
            failed=1
        else
            echo "$name fails over iroh-gossip itself as well" >&2
        fi
    done
    return "$failed"
}

# Whether a command succeeds in one of five attempts.
passes() {
    local attempt
    for attempt in 1 2 3 4 5; do
        "$@" && return 0
        echo "attempt $attempt of five has failed" >&2
    done
    return 1
}

# The examples of iroh-gossip and the program in its README, over this crate, as they are: only the line of
# the dependency is another one.
part_ported() {
    local copy="$target/ported" here=$PWD source
    source=$(source_of iroh-gossip Cargo.toml) || return 1
    rm -rf "$copy" && mkdir -p "$copy/src" && cp -r "$source/examples" "$copy/examples" || return 1
    # They name crates that iroh-gossip depends on, besides itself.
    cat >"$copy/Cargo.toml" <<MANIFEST
[package]
name = "ported"
version = "0.0.0"
edition = "2021"

[workspace]

[dependencies]
iroh-gossip = { package = "smol-gossip", path = "$here" }
blake3 = "1"
bytes = "1"
clap = { version = "4", features = ["derive"] }
data-encoding = "2"
hex = "0.4"
iroh = { version = "1", default-features = false, features = ["tls-ring"] }
n0-error = { version = "1", features = ["anyhow"] }
n0-future = "0.3"
postcard = { version = "1", features = ["use-std"] }
rand = "0.10"
serde = { version = "1", features = ["derive"] }
serde-byte-array = "0.1.2"
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
tracing-subscriber = { version = "0.3", features = ["env-filter"] }

[profile.dev.package."*"]
debug = false
MANIFEST
    printf '#![doc = include_str!("%s/README.md")]\n' "$source" >"$copy/src/lib.rs"
    (
        cd "$copy" || exit 1
        export CARGO_TARGET_DIR="$target/ported-target"
        cargo build --examples && cargo test --doc && cargo run --example setup &&
            talk "$CARGO_TARGET_DIR/debug/examples/chat"
    )
}

# Two of iroh-gossip's chats, one of which says something.
talk() {
    local room=$target/ported/room ticket heard=1
    mkdir -p "$room" && mkfifo "$room/ann.in" "$room/bob.in" || return 1
    "$1" --no-relay --name ann open <"$room/ann.in" >"$room/ann" 2>&1 &
    local ann=$! bob
    exec 8>"$room/ann.in"
    for _ in $(seq 100); do
        ticket=$(sed -n 's/^> ticket to join us: //p' "$room/ann")
        [ -z "$ticket" ] || break
        sleep 0.2
    done
    "$1" --no-relay --name bob join "$ticket" <"$room/bob.in" >"$room/bob" 2>&1 &
    bob=$!
    exec 9>"$room/bob.in"
    echo "hello from bob" >&9
    for _ in $(seq 100); do
        ! grep -q "hello from bob" "$room/ann" || { heard=0 && break; }
        sleep 0.2
    done
    exec 8>&- 9>&-
    kill "$ann" "$bob" 2>/dev/null
    wait "$ann" "$bob" 2>/dev/null
    [ "$heard" = 0 ] || cat "$room/ann" "$room/bob" >&2
    return "$heard"
}

# Each feature alone, none, and all: it builds, without warnings, and so does what tests it.
part_features() {
    need cargo-hack || return 1
    RUSTFLAGS="-D warnings" CARGO_TARGET_DIR="$target/features" \
        cargo hack check --workspace --each-feature --no-dev-deps || return 1
    RUSTFLAGS="-D warnings" CARGO_TARGET_DIR="$target/features" \
        cargo hack check --workspace --feature-powerset --depth 2 --no-dev-deps \
        --exclude-features default,examples,test-utils,simulator,rpc-tls-ring || return 1
    # Few schedules for each set of features; the gate runs many with all of them. Optimized a little, since
    # there are simulated swarms among these tests.
    SMOL_GOSSIP_SEEDS=${SMOL_GOSSIP_SEEDS:-50} CARGO_TARGET_DIR="$target/features" \
        cargo hack test --workspace --each-feature --lib \
        --config profile.dev.package.smol-gossip.opt-level=1 || return 1
    # All that is tested, with what a program gets that asks for nothing; the gate has all features.
    RUSTFLAGS="-D warnings" CARGO_TARGET_DIR="$target/features" \
        cargo check --workspace --all-targets || return 1
    SMOL_GOSSIP_SEEDS=${SMOL_GOSSIP_SEEDS:-50} CARGO_TARGET_DIR="$target/features" \
        cargo test --workspace --tests || return 1
    RUSTDOCFLAGS="-D warnings" CARGO_TARGET_DIR="$target/features" \
        cargo hack doc --workspace --each-feature --no-deps
}

# The oldest versions that the manifests allow are enough. Only of direct dependencies: what others ask
# for too little of is theirs to say.
part_minimal() {
    copy_to "$target/minimal" || return 1
    (
        cd "$target/minimal" || exit 1
        cargo +nightly -Z direct-minimal-versions generate-lockfile &&
            CARGO_TARGET_DIR="$target/minimal-target" \
                cargo check --locked --workspace --all-features
    )
}

# The Rust version that the manifest names, where it is installed.
part_msrv() {
    local msrv toolchain
    msrv=$(grep -m1 '^rust-version' Cargo.toml | cut -d'"' -f2)
    toolchain=$(rustup toolchain list | grep -o "^$msrv[^ ]*" | head -1)
    if [ -z "$toolchain" ]; then
        if ! rustup toolchain install "$msrv" --profile minimal; then
            echo "Rust $msrv is not installed and cannot be fetched: not checked." >&2
            echo "With what is installed, the compiler says of what is newer than $msrv:" >&2
            cargo clippy --locked --workspace --all-features -- \
                -A clippy::all -D clippy::incompatible_msrv
            return
        fi
        toolchain=$msrv
    fi
    CARGO_TARGET_DIR="$target/msrv" cargo "+$toolchain" check --locked --workspace --all-features
}

# The public API is what is committed in docs/api. With BLESS=1, it is written there. Each function of it
# has an example.
part_api() {
    need cargo-public-api || return 1
    local package failed=0
    for package in smol-gossip smol-gossip-runtime; do
        CARGO_TARGET_DIR="$target/api" cargo +nightly public-api --package "$package" --all-features \
            --omit blanket-impls,auto-trait-impls,auto-derived-impls >"$target/$package.txt" || return 1
        if [ -n "${BLESS:-}" ]; then
            mkdir -p docs/api && cp "$target/$package.txt" "docs/api/$package.txt"
        fi
        diff -u "docs/api/$package.txt" "$target/$package.txt" || failed=1
        .ci/examples.py "$target/api/doc/${package//-/_}.json" || return 1
    done
    [ "$failed" = 0 ] || echo "The public API has changed. If that is meant: BLESS=1 .ci/weekly api" >&2
    return "$failed"
}

# Licences and sources of all dependencies, and advisories where their database can be had.
part_licences() {
    need cargo-deny || return 1
    cargo deny --all-features check bans licenses sources || return 1
    if cargo deny --all-features fetch db 2>/dev/null; then
        cargo deny --all-features check --disable-fetch advisories
    else
        echo "the advisory database cannot be fetched: not checked" >&2
    fi
}

# Dependencies that nothing uses.
part_unused() {
    need cargo-machete || return 1
    cargo machete --with-metadata . runtime
}

# Both crates as they would be published, built from what is in the packages.
part_package() {
    CARGO_TARGET_DIR="$target/package-build" cargo package --locked --allow-dirty --workspace || return 1
    local listed
    listed=$(cargo package --locked --allow-dirty --list --package smol-gossip) || return 1
    for file in README.md LICENSE-MIT LICENSE-APACHE CHANGELOG.md src/lib.rs docs/drop-in.md; do
        grep -qx "$file" <<<"$listed" || { echo "$file is not in the package" >&2; return 1; }
    done
}

# The newest of everything: it builds, and its nodes talk to those of iroh-gossip.
part_upstream() {
    copy_to "$target/upstream" || return 1
    (
        cd "$target/upstream" || exit 1
        cargo update || exit 1
        newest=$(cargo info iroh-gossip --registry crates-io 2>/dev/null | sed -n 's/^version: \([0-9.]*\).*/\1/p')
        if [ -n "$newest" ] && [[ $newest != 0.101.* ]]; then
            echo "iroh-gossip is at $newest by now: trying that" >&2
            sed -i "s/^iroh-gossip = { version = \"0.101\"/iroh-gossip = { version = \"$newest\"/" Cargo.toml
            cargo update || exit 1
        fi
        cargo tree --workspace --all-features --depth 1 | grep -E 'iroh|irpc|noq'
        CARGO_TARGET_DIR="$target/upstream-target" cargo test --all-features \
            --test interop --test drop_in --test items --test rpc --test wire_golden
    )
}
