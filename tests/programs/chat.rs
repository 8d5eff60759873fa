//! `chat`, typed at.

use crate::program::{Program, Scratch, free_port, start_and_stop_reading};

fn open(args: &[&str]) -> (Program, String) {
    let args = [&["open", "--no-relay", "--name", "ann"], args].concat();
    let mut ann = Program::start("chat", args);
    ann.expect("join it with this ticket");
    let ticket = ann.next_line();
    (ann, ticket)
}

fn join(name: &str, ticket: &str, args: &[&str]) -> Program {
    let args = [&["join", ticket, "--no-relay", "--name", name], args].concat();
    Program::start("chat", args)
}

#[test]
fn two_people_talk() {
    let (mut ann, ticket) = open(&[]);
    let mut bob = join("bob", &ticket, &[]);
    ann.expect("* bob");
    bob.expect("* ann");
    ann.type_line("hello bob");
    let said = bob.expect("hello bob");
    assert!(said.starts_with("ann ("), "{said}");
    bob.type_line("hello yourself");
    ann.expect("): hello yourself");

    // The very same words again are said again.
    bob.type_line("hello yourself");
    ann.expect("): hello yourself");

    ann.type_line("/peers");
    ann.expect("* 1 besides you:");
    ann.expect("*   bob (");
    ann.type_line("/nick annie");
    bob.expect("* ann is annie (");
    ann.type_line("/wave");
    ann.expect("no /wave");
    ann.type_line(&"x".repeat(5000));
    ann.expect("too long by");
    // What would command the terminal is not shown as it is.
    ann.type_line("\u{1b}[2Jboo");
    let said = bob.expect("boo");
    assert!(!said.contains('\u{1b}'), "{said:?}");

    bob.type_line("/quit");
    ann.expect("* bob");
    bob.succeed();
    ann.end_input();
    ann.succeed();
}

#[test]
fn ctrl_c_says_goodbye() {
    let (mut ann, ticket) = open(&[]);
    let mut bob = join("bob", &ticket, &[]);
    ann.expect("* bob");
    bob.expect("* ann");
    bob.signal("INT");
    ann.expect("has left");
    bob.succeed();
    ann.signal("TERM");
    ann.succeed();
}

#[test]
fn who_comes_late_sees_what_was_said() {
    let (mut ann, ticket) = open(&[]);
    let mut bob = join("bob", &ticket, &[]);
    ann.expect("* bob");
    for n in 0..5 {
        bob.type_line(&format!("line {n}"));
        ann.expect(&format!("line {n}"));
    }
    bob.type_line("/quit");
    ann.expect("has left");
    bob.succeed();

    let mut carol = join("carol", &ticket, &["--history", "3"]);
    carol.expect("said before you came");
    for n in 2..5 {
        let shown = carol.next_line();
        assert!(shown.starts_with("  bob ("), "{shown}");
        assert!(shown.ends_with(&format!("line {n}")), "{shown}");
    }
    // And that of bob is known to be over.
    carol.type_line("/peers");
    carol.expect("* 1 besides you");
    carol.expect("ann");

    // Without.
    let mut dave = join("dave", &ticket, &["--history", "0"]);
    dave.expect("* ann");
    dave.type_line("/quit");
    let said = dave.succeed().join("\n");
    assert!(!said.contains("line"), "{said}");
}

#[test]
fn the_others_of_who_restarts_stay() {
    let (key, port) = (Scratch::new("chat-restart.key"), free_port());
    let (mut ann, ticket) = open(&[]);
    let mut carol = join("carol", &ticket, &[]);
    ann.expect("* carol");
    let args = ["--secret", key.path(), "--bind-port", &port];
    let mut bob = join("bob", &ticket, &args);
    ann.expect("* bob");
    bob.expect("* ann");
    bob.kill();

    ann.type_line("where is he?");
    carol.expect("where is he?");
    let mut bob = join("bob", &ticket, &args);
    ann.expect("is back");
    bob.type_line("here I am");
    ann.expect("here I am");
    carol.expect("here I am");
    ann.type_line("/peers");
    ann.expect("* 2 besides you");
}

#[test]
fn who_vanishes_is_missed() {
    let (mut ann, ticket) = open(&["--presence", "1"]);
    let mut bob = join("bob", &ticket, &[]);
    ann.expect("* bob");
    bob.kill();
    let said = ann.expect("is gone");
    assert!(said.starts_with("* bob"), "{said}");
    ann.type_line("/peers");
    ann.expect("nobody else");
}

#[test]
fn it_ends_when_nobody_reads() {
    let (mut ann, ticket) = open(&[]);
    let args = ["join", &ticket, "--no-relay", "--name", "bob"];
    let (bob, line) = start_and_stop_reading("chat", &args, "you are bob");
    assert!(line.is_some());
    // That it is connected is what it cannot show any more, or else this.
    ann.type_line("anybody?");
    let output = bob.wait_with_output().expect("it is our child");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{notes}", output.status);
    assert_eq!(notes, "");
}

#[test]
fn a_wrong_ticket_is_explained() {
    let (status, _, notes) = join("bob", "gossipnonsense", &[]).finish();
    assert_eq!(status.code(), Some(2));
    assert!(notes.join("\n").contains("ticket"), "{notes:#?}");
}
