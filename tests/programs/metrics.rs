//! `metrics`, scraped.
#![cfg(feature = "metrics")]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::program::Program;

/// What a server answers to one request: the head, and the body.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("there is a head");
    (head.to_owned(), body.to_owned())
}

/// The value of a counter, for one of the two nodes.
fn value(text: &str, name: &str, node: &str) -> Option<u64> {
    let begin = format!("gossip_{name}_total{{node=\"{node}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&begin))?;
    Some(line.parse().expect("a number"))
}

#[test]
fn a_scrape_reads_what_was_counted() {
    let mut program = Program::start("metrics", ["--listen", "127.0.0.1:0"]);
    let line = program.expect("curl http://");
    let url = line.trim_start_matches("curl http://");
    let (address, path) = url.split_at(url.find('/').expect("there is a path"));

    // The names that programs written for iroh-gossip look at, and some of ours.
    let names = "msgs_ctrl_sent msgs_ctrl_recv msgs_data_sent msgs_data_recv msgs_data_sent_size \
        msgs_data_recv_size msgs_ctrl_sent_size msgs_ctrl_recv_size neighbor_up neighbor_down \
        actor_tick_main actor_tick_rx actor_tick_endpoint actor_tick_dialer \
        actor_tick_dialer_success actor_tick_dialer_failure actor_tick_in_event_rx \
        actor_tick_timers peers_stuck payloads_announced duplicates stranger_control \
        broadcast_too_large rpc_refused";
    loop {
        let (head, text) = get(address, path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(text.ends_with("# EOF\n"), "it is whole");
        for name in names.split_whitespace() {
            for node in ["alice", "bob"] {
                assert!(
                    value(&text, name, node).is_some(),
                    "{name} of {node}:\n{text}"
                );
            }
            assert!(text.contains(&format!("# TYPE gossip_{name} counter")));
        }
        // Bob talks to alice, once a second.
        let heard = value(&text, "msgs_data_recv", "alice");
        let sent = value(&text, "msgs_data_sent", "bob");
        assert_eq!(value(&text, "neighbor_down", "bob"), Some(0));
        if heard >= Some(2) {
            assert!(sent >= heard);
            assert_eq!(value(&text, "neighbor_up", "alice"), Some(1));
            break;
        }
    }
    let (head, _) = get(address, "/other");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}
