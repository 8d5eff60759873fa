//! `gossip_cat` in pipes.

use crate::program::{Program, Scratch, free_port, start_and_stop_reading};

fn open(args: &[&str]) -> (Program, String) {
    let mut cat = Program::start("gossip_cat", [&["open", "--no-relay"], args].concat());
    let note = cat.expect_note("ticket: ");
    let ticket = note.trim_start_matches("ticket: ").to_owned();
    (cat, ticket)
}

fn join(ticket: &str, args: &[&str]) -> Program {
    Program::start(
        "gossip_cat",
        [&["join", ticket, "--no-relay"], args].concat(),
    )
}

#[test]
fn lines_go_in_and_come_out() {
    let (receiver, ticket) = open(&["--count", "4"]);
    let mut sender = join(&ticket, &[]);
    // Equal lines are as many as there are, and empty ones are lines.
    let lines = ["first", "again", "again", ""];
    for line in lines {
        sender.type_line(line);
    }
    sender.end_input();
    assert_eq!(sender.succeed(), [""; 0]);
    assert_eq!(sorted(receiver.succeed()), sorted(lines));
}

fn sorted(lines: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().map(Into::into).collect();
    lines.sort();
    lines
}

#[test]
fn the_first_one_can_send_too() {
    let (mut sender, ticket) = open(&[]);
    // Before anybody is there.
    sender.type_line("for whoever comes");
    sender.end_input();
    let receiver = join(&ticket, &["--count", "1"]);
    assert_eq!(receiver.succeed(), ["for whoever comes"]);
    sender.succeed();
}

#[test]
fn json_says_who_wrote_it() {
    let (mut receiver, ticket) = open(&["--json", "--stay"]);
    let mut sender = join(&ticket, &[]);
    let up: serde_json::Value = parse(&receiver.expect("neighbor_up"));
    sender.type_line("quoted \"text\"");
    sender.end_input();
    let message = parse(&receiver.expect("\"message\""));
    assert_eq!(message["text"], "quoted \"text\"");
    assert_eq!(message["author"], up["peer"]);
    assert_eq!(message["from"], up["peer"]);
    assert!(message["signed_at_us"].as_u64() > Some(1_700_000_000_000_000));
    sender.succeed();
    let down = parse(&receiver.expect("neighbor_down"));
    assert_eq!(down["peer"], up["peer"]);
    receiver.signal("INT");
    receiver.succeed();
}

fn parse(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn raw_is_what_other_programs_send() {
    let (receiver, ticket) = open(&["--raw", "--count", "2"]);
    let mut sender = join(&ticket, &["--raw"]);
    for line in ["once", "once", "more"] {
        sender.type_line(line);
    }
    sender.end_input();
    let (status, _, notes) = sender.finish();
    assert!(status.success());
    assert!(notes.join("\n").contains("is not sent again"), "{notes:#?}");
    assert_eq!(sorted(receiver.succeed()), ["more", "once"]);
}

#[test]
fn exit_codes_are_what_the_help_says() {
    // 2: the command line.
    let (status, ..) = join("gossipnonsense", &[]).finish();
    assert_eq!(status.code(), Some(2));

    // 1: the port is taken.
    let port = free_port();
    let (_first, ticket) = open(&["--bind-port", &port, "--stay"]);
    let (status, _, notes) =
        Program::start("gossip_cat", ["open", "--no-relay", "--bind-port", &port]).finish();
    assert_eq!(status.code(), Some(1));
    assert!(notes.join("\n").starts_with("gossip_cat: "), "{notes:#?}");

    // 4: a line that is too long, between others that are not.
    let (receiver, other) = open(&["--count", "2"]);
    let mut sender = join(&other, &[]);
    sender.type_line("short");
    sender.type_line(&"x".repeat(3_000_000));
    sender.type_line("short too");
    sender.end_input();
    let (status, _, notes) = sender.finish();
    assert_eq!(status.code(), Some(4), "{notes:#?}");
    assert_eq!(sorted(receiver.succeed()), ["short", "short too"]);

    // Also where it ends as it has heard enough.
    let (mut hearing, other) = open(&["--count", "1"]);
    let mut sender = join(&other, &["--stay"]);
    hearing.type_line(&"x".repeat(3_000_000));
    hearing.expect_note("is not sent");
    sender.type_line("enough");
    let (status, _, notes) = hearing.finish();
    assert_eq!(status.code(), Some(4), "{notes:#?}");

    // 3: whoever gave the ticket is gone.
    drop(_first);
    let (status, ..) = join(&ticket, &["--timeout", "1"]).finish();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn it_ends_when_nobody_reads() {
    let (mut sender, ticket) = open(&["--stay"]);
    // It is sent when somebody is there.
    sender.type_line("one");
    let args = ["join", &ticket, "--no-relay", "--stay"];
    let (receiver, line) = start_and_stop_reading("gossip_cat", &args, "one");
    assert!(line.is_some());
    sender.type_line("two");
    let output = receiver.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{}", output.status);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn a_lost_connection_is_made_again() {
    let (key, port) = (Scratch::new("cat-restart.key"), free_port());
    let args = ["--secret", key.path(), "--bind-port", &port, "--stay"];
    let (mut first, ticket) = open(&args);
    let mut other = join(&ticket, &["--stay"]);
    other.type_line("before");
    first.expect("before");
    first.kill();

    // The same node again, which knows of nobody: it is the other one that has to come.
    let (mut first, again) = open(&args);
    assert_eq!(again, ticket);
    other.expect_note("disconnected");
    other.expect_note("connected to");
    other.type_line("after");
    first.expect("after");
    first.type_line("and back");
    other.expect("and back");
}

#[test]
fn who_opens_without_input_listens() {
    let (mut receiver, ticket) = open(&[]);
    receiver.end_input();
    let mut sender = join(&ticket, &[]);
    sender.type_line("into a script");
    sender.end_input();
    sender.succeed();
    receiver.expect("into a script");
    receiver.signal("INT");
    receiver.succeed();
}

#[test]
fn it_says_that_nobody_answers() {
    let (mut gone, ticket) = open(&["--stay"]);
    gone.kill();
    let mut waiting = join(&ticket, &[]);
    waiting.expect_note("joining ...");
    waiting.expect_note("does not answer");
    waiting.signal("INT");
    waiting.succeed();
}
