//! Tests in a process of their own: because what they guard against ends the process, or because
//! they count its threads.

use std::{
    env,
    process::{Command, Output},
};

/// Tells a child process which test it is there for.
const CHILD: &str = "SMOL_GOSSIP_TEST_CHILD";

/// What a child says when the test has passed. A name that no test has would pass as well.
const PASSED: &str = "the child has passed";

/// Runs `body` in a child process, which runs nothing but the test called `name`. That has to be
/// the test that calls this.
pub fn in_child(name: &str, body: impl FnOnce()) {
    if env::var_os(CHILD).is_some_and(|child| child == name) {
        body();
        println!("{PASSED}");
        return;
    }
    let output = Command::new(env::current_exe().expect("we are a program"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .output()
        .expect("it can be started");
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let (said, complained) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(
        status.success() && said.contains(PASSED),
        "the child ended with {status}\n{said}\n{complained}"
    );
}
