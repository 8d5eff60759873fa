//! Tickets: as text, and what is in the text once its checksum is right.
//!
//! Input: what the rest is: text, the bytes behind the text, or the body of a ticket.

use std::str;

use data_encoding::BASE32_NOPAD;
use smol_gossip::ticket::{MAX_TEXT_LEN, Ticket};

use super::bytes::Bytes as Choices;

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let kind = choices.below(4);
    let rest = choices.rest();
    let text = match kind {
        0 => match str::from_utf8(rest) {
            Ok(text) => text.to_string(),
            Err(_) => return,
        },
        1 => with_checksum(rest.to_vec()),
        2 => {
            let len = u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes();
            with_checksum([&[1, len[0], len[1]], rest].concat())
        }
        _ => {
            if let Ok(ticket) = postcard::from_bytes::<Ticket>(rest) {
                check(&ticket);
            }
            return;
        }
    };
    if let Ok(ticket) = text.parse::<Ticket>() {
        check(&ticket);
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(ticket));
    }
}

fn with_checksum(mut bytes: Vec<u8>) -> String {
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(&hash.as_bytes()[..4]);
    format!("gossip{}", BASE32_NOPAD.encode(&bytes))
}

fn check(ticket: &Ticket) {
    let text = ticket.to_string();
    assert!(text.len() <= MAX_TEXT_LEN);
    assert_eq!(text.parse().as_ref(), Ok(ticket));
    let (topic, peers) = ticket.clone().into_parts();
    assert_eq!(Ticket::new(topic, peers).as_ref(), Ok(ticket));
    let bytes = postcard::to_stdvec(ticket).expect("serializes to memory");
    assert_eq!(postcard::from_bytes(&bytes).as_ref(), Ok(ticket));
}
