//! The starts that the README shows run as they stand.

use crate::program::Program;

#[test]
fn each_start_passes_on_a_message() {
    for start in ["setup_tokio", "setup_smol", "setup_edge"] {
        let said = Program::start(start, [""; 0]).succeed();
        assert_eq!(said, ["received b\"hello\""], "{start}");
    }
}

#[cfg(feature = "rpc")]
#[test]
fn a_client_talks_through_a_daemon() {
    use crate::program::Scratch;

    let (here, there) = (Scratch::new("here.der"), Scratch::new("there.der"));
    let mut first = Program::start("rpc_daemon", ["--cert", here.path()]);
    let line = first.expect("ticket: ");
    let ticket = line.trim_start_matches("ticket: ");
    let mut second = Program::start("rpc_daemon", ["--cert", there.path(), "--join", ticket]);

    // The command lines that the daemons print, one as it stands, and one without its message.
    let client = |daemon: &mut Program| {
        let line = daemon.expect("to talk: ");
        let (_, args) = line
            .split_once(" -- ")
            .expect("cargo's arguments end there");
        args.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (mut listens, talks) = (client(&mut first), client(&mut second));
    listens.truncate(4);
    let mut listener = Program::start("rpc_client", listens);
    listener.expect("");
    let mut talker = Program::start("rpc_client", talks);
    listener.expect("hello");
    talker.expect("");
}
