//! Tickets that are good, and what is said of those that are not.

use std::{
    collections::BTreeSet,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
};

use iroh_base::{EndpointId, SecretKey, TransportAddr};
use proptest::prelude::*;

use super::*;

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

fn id(seed: u8) -> EndpointId {
    SecretKey::from_bytes(&[seed; 32]).public()
}

fn ticket() -> Ticket {
    let peer = EndpointAddr::new(id(1))
        .with_ip_addr("192.0.2.1:4433".parse().expect("an address"))
        .with_relay_url("https://relay.example.org".parse().expect("a URL"));
    Ticket::new(TOPIC, vec![peer]).expect("it is small")
}

fn many_addrs(count: u16) -> impl Iterator<Item = TransportAddr> {
    (0..count).map(|port| TransportAddr::Ip(SocketAddr::from((Ipv6Addr::LOCALHOST, port))))
}

/// A ticket around any version and body, with a good checksum.
fn text(version: u8, body: &[u8]) -> String {
    let mut bytes = vec![version];
    bytes.extend(u16::try_from(body.len()).expect("small").to_be_bytes());
    bytes.extend(body);
    bytes.extend(checksum(&bytes));
    format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes))
}

fn parse(text: &str) -> Result<Ticket, TicketError> {
    text.parse()
}

#[test]
fn the_text_is_what_the_documentation_says() {
    let expected = [
        "gossip",
        "aeagmbyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyhagfiry65oqe7dfp5klns2pf2",
        "lvzmuzyjx4ozieq36n2iqanub5xvyaqadjuhi5dqom5c6l3smvwgc6jomv4gc3lqnrss433sm4xqcaga",
        "aabadujcudqyyvy",
    ];
    assert_eq!(ticket().to_string(), expected.concat());
    assert_eq!(parse(&ticket().to_string()), Ok(ticket()));
}

#[test]
fn case_does_not_matter() {
    let upper = ticket().to_string().to_uppercase();
    assert_eq!(parse(&upper), Ok(ticket()));
}

#[test]
fn every_truncation_is_called_one() {
    let text = ticket().to_string();
    for len in 0..text.len() {
        let expected = match len {
            0..6 => TicketError::WrongPrefix,
            6..14 => TicketError::Truncated {
                len,
                expected: text_len(0),
            },
            14.. => TicketError::Truncated {
                len,
                expected: text.len(),
            },
        };
        assert_eq!(parse(&text[..len]), Err(expected));
    }
}

#[test]
fn every_typo_is_noticed() {
    let text = ticket().to_string();
    for position in PREFIX.len()..text.len() {
        for typo in ('a'..='z').chain('2'..='7') {
            let mut mistyped = text.clone();
            mistyped.replace_range(position..=position, typo.encode_utf8(&mut [0; 4]));
            if mistyped == text {
                continue;
            }
            match parse(&mistyped) {
                Err(TicketError::Corrupt) => {}
                // The length itself was mistyped, and could be one.
                Err(TicketError::Truncated { expected, .. })
                    if position < 14 && expected <= MAX_TEXT_LEN => {}
                other => panic!("{mistyped}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_length_that_no_ticket_has_was_mistyped() {
    let text = ticket().to_string();
    let header = |len: u16| {
        let [high, low] = len.to_be_bytes();
        // Whole characters up to here, whatever is behind.
        let code = BASE32_NOPAD.encode(&[VERSION, high, low, 0, 0]);
        format!("{PREFIX}{code}{}", &text[14..])
    };
    let longest = (0..u16::MAX)
        .take_while(|len| text_len(usize::from(*len)) <= MAX_TEXT_LEN)
        .last()
        .expect("the shortest fits");
    let len = text.len();
    assert_eq!(
        parse(&header(longest)),
        Err(TicketError::Truncated {
            len,
            expected: text_len(longest.into()),
        })
    );
    for len in [longest + 1, u16::MAX] {
        assert_eq!(parse(&header(len)), Err(TicketError::Corrupt));
    }
}

#[test]
fn scope_and_flow_label_stay_on_their_machine() {
    let scoped = |flow, scope| {
        let addr = SocketAddrV6::new("fe80::1".parse().expect("an address"), 4433, flow, scope);
        TransportAddr::Ip(addr.into())
    };
    let mut peer = EndpointAddr::new(id(1));
    // One address for others, however many interfaces there are.
    peer.addrs = (0..=MAX_ADDRS_PER_PEER as u32)
        .map(|scope| scoped(7, scope))
        .collect();
    let ticket = Ticket::new(TOPIC, vec![peer.clone()]).expect("it is small");
    assert_eq!(ticket.peers()[0].addrs, BTreeSet::from([scoped(0, 0)]));
    assert_eq!(parse(&ticket.to_string()).as_ref(), Ok(&ticket));
    assert_eq!(Ticket::fitting(TOPIC, vec![peer]), ticket);
}

#[test]
fn a_bad_character_is_shown_with_its_place() {
    let good = ticket().to_string();
    for character in ['1', '8', '0', ' ', '=', '\n', 'é', '\u{1f600}'] {
        let mut bad = good.clone();
        bad.insert(20, character);
        assert_eq!(
            parse(&bad),
            Err(TicketError::BadCharacter {
                character,
                position: 20
            })
        );
    }
}

#[test]
fn what_is_not_a_ticket_is_said_to_be_none() {
    for text in [
        "",
        "goss",
        "https://example.org",
        "endpointaaaaaaaa",
        "gossié",
        "ééé",
    ] {
        assert_eq!(parse(text), Err(TicketError::WrongPrefix), "{text}");
    }
}

#[test]
fn something_behind_a_ticket_is_noticed() {
    let text = ticket().to_string();
    for more in ["a", "aa", "aaaaaaaa"] {
        assert_eq!(parse(&format!("{text}{more}")), Err(TicketError::Corrupt));
    }
}

#[test]
fn a_text_that_is_too_long_is_not_read() {
    let long = format!("{PREFIX}{}", "a".repeat(MAX_TEXT_LEN - PREFIX.len() + 1));
    let expected = TicketError::TooLong {
        len: MAX_TEXT_LEN + 1,
        max: MAX_TEXT_LEN,
    };
    assert_eq!(parse(&long), Err(expected));
}

#[test]
fn an_unknown_version_is_said_to_be_one() {
    assert_eq!(
        parse(&text(2, b"whatever")),
        Err(TicketError::UnknownVersion { version: 2 })
    );
    assert_eq!(
        parse(&text(0, b"")),
        Err(TicketError::UnknownVersion { version: 0 })
    );
}

#[test]
fn a_body_that_cannot_be_read_is_malformed() {
    let mut longer = ticket().body();
    longer.push(0);
    for body in [&b""[..], b"short", &[0xff; 100], &longer] {
        assert_eq!(parse(&text(VERSION, body)), Err(TicketError::Malformed));
    }
}

#[test]
fn too_much_is_refused_in_both_directions() {
    let peers = vec![EndpointAddr::new(id(1)); MAX_PEERS + 1];
    let expected = TicketError::TooManyPeers {
        count: MAX_PEERS + 1,
        max: MAX_PEERS,
    };
    assert_eq!(Ticket::new(TOPIC, peers.clone()), Err(expected.clone()));
    assert_eq!(
        parse(&text(
            VERSION,
            &Ticket {
                topic: TOPIC,
                peers
            }
            .body()
        )),
        Err(expected)
    );

    let peers = vec![EndpointAddr::from_parts(
        id(1),
        many_addrs(MAX_ADDRS_PER_PEER as u16 + 1),
    )];
    let expected = TicketError::TooManyAddrs {
        count: MAX_ADDRS_PER_PEER + 1,
        max: MAX_ADDRS_PER_PEER,
    };
    assert_eq!(Ticket::new(TOPIC, peers.clone()), Err(expected.clone()));
    assert_eq!(
        parse(&text(
            VERSION,
            &Ticket {
                topic: TOPIC,
                peers
            }
            .body()
        )),
        Err(expected)
    );

    let peers: Vec<_> = (0..MAX_PEERS as u8)
        .map(|seed| EndpointAddr::from_parts(id(seed), many_addrs(MAX_ADDRS_PER_PEER as u16)))
        .collect();
    let full = Ticket {
        topic: TOPIC,
        peers: peers.clone(),
    };
    let len = text_len(full.body().len());
    let expected = TicketError::TooLong {
        len,
        max: MAX_TEXT_LEN,
    };
    assert_eq!(Ticket::new(TOPIC, peers), Err(expected));
}

/// What was read can be written and read again, also where a URL is in another form than that in which
/// it is kept.
#[test]
fn what_grows_as_it_is_read_stays_within_bounds() {
    let body = |letters: usize| {
        let url = format!("https://relay.example.org/{}", "é".repeat(letters));
        // As `Ticket::body` writes it: one peer with one address, which is a relay.
        let peer = (id(1), vec![(0u8, url)]);
        postcard::to_stdvec(&(TOPIC, vec![peer])).expect("serializes to memory")
    };
    let read = parse(&text(VERSION, &body(100))).expect("it is small");
    let written = read.to_string();
    assert!(written.len() > text_len(body(100).len()), "it has grown");
    assert_eq!(parse(&written), Ok(read));

    let long = text(VERSION, &body(2000));
    assert!(long.len() < MAX_TEXT_LEN);
    let TicketError::TooLong { len, max } = parse(&long).expect_err("it has grown too long") else {
        panic!("too long is what it is");
    };
    assert!(len > max && max == MAX_TEXT_LEN);
}

#[test]
fn serde_knows_both_forms() {
    let bytes = postcard::to_stdvec(&ticket()).expect("serializes");
    assert_eq!(bytes, ticket().body());
    assert_eq!(postcard::from_bytes::<Ticket>(&bytes), Ok(ticket()));
    let peers = vec![EndpointAddr::new(id(1)); MAX_PEERS + 1];
    let bytes = Ticket {
        topic: TOPIC,
        peers,
    }
    .body();
    assert!(postcard::from_bytes::<Ticket>(&bytes).is_err());

    // A formatter is a serializer, and a human-readable one.
    struct Shown(Ticket);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.serialize(f)
        }
    }
    let text = Shown(ticket()).to_string();
    assert_eq!(text, ticket().to_string());
    let deserializer = de::value::StrDeserializer::<de::value::Error>::new(&text);
    assert_eq!(Ticket::deserialize(deserializer), Ok(ticket()));
}

fn addr() -> impl Strategy<Value = TransportAddr> {
    prop_oneof![
        (any::<SocketAddr>(), any::<[u32; 2]>()).prop_map(|(mut addr, [flow, scope])| {
            if let SocketAddr::V6(v6) = &mut addr {
                v6.set_flowinfo(flow);
                v6.set_scope_id(scope);
            }
            TransportAddr::Ip(addr)
        }),
        "[a-z]{1,20}".prop_map(|host| {
            let url = format!("https://{host}.example.org");
            TransportAddr::Relay(url.parse().expect("a URL"))
        }),
    ]
}

fn peer() -> impl Strategy<Value = EndpointAddr> {
    let addrs = prop::collection::btree_set(addr(), 0..=8);
    (any::<u8>(), addrs).prop_map(|(seed, addrs): (u8, BTreeSet<_>)| EndpointAddr {
        id: id(seed),
        addrs,
    })
}

proptest! {
    #[test]
    fn every_ticket_survives(topic: [u8; 32], peers in prop::collection::vec(peer(), 0..=8)) {
        let ticket = Ticket::new(topic.into(), peers).expect("within bounds");
        prop_assert_eq!(parse(&ticket.to_string()), Ok(ticket));
    }

    #[test]
    fn anything_can_come_in(noise: String, body: Vec<u8>) {
        prop_assert!(parse(&noise).is_err());
        let with_prefix = format!("{PREFIX}{noise}");
        prop_assert!(parse(&with_prefix).is_err());
        let _ = parse(&text(VERSION, &body));
    }
}

#[test]
fn what_leads_here_from_afar_is_kept() {
    let relay: TransportAddr = TransportAddr::Relay("https://relay.example.org".parse().unwrap());
    let public = TransportAddr::Ip("192.0.2.1:4433".parse().unwrap());
    let bridges = (0..40u8).map(|n| TransportAddr::Ip(([172, 17, n, 1], 4433).into()));
    let mut peer = EndpointAddr::new(id(1));
    peer.addrs = many_addrs(40).chain(bridges).collect();
    peer.addrs.extend([relay.clone(), public.clone()]);
    let ticket = Ticket::fitting(TOPIC, vec![peer]);
    let kept = &ticket.peers()[0].addrs;
    assert_eq!(kept.len(), MAX_ADDRS_PER_PEER);
    assert!(kept.contains(&relay) && kept.contains(&public), "{kept:?}");
    assert!(!many_addrs(40).any(|addr| kept.contains(&addr)), "{kept:?}");
}

#[test]
fn what_fits_is_left_as_it_is() {
    let (topic, peers) = ticket().into_parts();
    assert_eq!(Ticket::fitting(topic, peers), ticket());
}

proptest! {
    #[test]
    fn a_fitting_ticket_can_be_written_and_read(
        peers in prop::collection::vec((any::<u8>(), 0..40u16, 0..4000usize), 0..24),
    ) {
        let peers = peers.into_iter().map(|(seed, addrs, url)| {
            let mut peer = EndpointAddr::new(id(seed));
            peer.addrs = many_addrs(addrs).collect();
            let url = format!("https://example.org/{}", "r".repeat(url));
            peer.with_relay_url(url.parse().expect("a URL"))
        });
        let peers: Vec<_> = peers.collect();
        let ticket = Ticket::fitting(TOPIC, peers.clone());
        prop_assert_eq!(parse(&ticket.to_string()), Ok(ticket.clone()));
        prop_assert_eq!(ticket.peers().len(), peers.len().min(MAX_PEERS));
        for (one, given) in ticket.peers().iter().zip(&peers) {
            prop_assert_eq!(one.id, given.id);
            prop_assert!(one.addrs.is_subset(&given.addrs));
        }
    }
}
