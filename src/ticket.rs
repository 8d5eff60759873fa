//! A topic and who is in it, as text to be passed from person to person.
//!
//! ```
//! use iroh_base::{EndpointAddr, SecretKey};
//! use smol_gossip::{TopicId, ticket::Ticket};
//!
//! let topic = TopicId::from_bytes([7; 32]);
//! let me = EndpointAddr::new(SecretKey::from_bytes(&[1; 32]).public())
//!     .with_ip_addr("192.0.2.1:4433".parse()?);
//! let text = Ticket::new(topic, vec![me])?.to_string();
//!
//! let ticket: Ticket = text.parse()?;
//! let bootstrap: Vec<_> = ticket.peers().iter().map(|peer| peer.id).collect();
//! assert_eq!(ticket.topic(), topic);
//! # assert_eq!(bootstrap.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Give the addresses to the endpoint's address lookup and the ids to
//! [`subscribe`](crate::api::GossipApi::subscribe). A ticket is not secret and not signed: whoever
//! has it can join, and whoever passes it on can change it.
//!
//! # The text
//!
//! The word `gossip`, and in base32 (RFC 4648, lower case, no padding; either case is read):
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 2 | the length of the body, big-endian |
//! | … | the body: topic and peers in postcard |
//! | 4 | the beginning of the blake3 hash of all before |
//!
//! All but the body stays the same in every version.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use data_encoding::BASE32_NOPAD;
use iroh_base::{EndpointAddr, TransportAddr};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::proto::TopicId;

/// The length of the longest ticket, in characters.
pub const MAX_TEXT_LEN: usize = 8192;

/// The most peers that a ticket names.
pub const MAX_PEERS: usize = 16;

/// The most addresses that a ticket has for one peer.
pub const MAX_ADDRS_PER_PEER: usize = 16;

const PREFIX: &str = "gossip";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 3;
const CHECKSUM_LEN: usize = 4;

/// The smallest number of characters that come to whole bytes, and enough for the header.
const HEADER_TEXT_LEN: usize = 8;

/// A topic, and peers that are in it. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    topic: TopicId,
    peers: Vec<EndpointAddr>,
}

impl Ticket {
    /// A ticket to `topic` that introduces `peers`. It may name none, and peers without addresses.
    ///
    /// IPv6 addresses go without their scope and flow label, which mean nothing on another machine.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, ticket::Ticket};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// let ticket = Ticket::new(topic, vec![])?;
    /// assert!(ticket.to_string().starts_with("gossip"));
    /// # Ok::<(), smol_gossip::ticket::TicketError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When it would exceed [`MAX_PEERS`], [`MAX_ADDRS_PER_PEER`] or [`MAX_TEXT_LEN`]. Whatever
    /// passes here can be written and read.
    pub fn new(topic: TopicId, peers: Vec<EndpointAddr>) -> Result<Self, TicketError> {
        let peers = peers.into_iter().map(for_others).collect();
        let ticket = Self { topic, peers }.check_counts()?;
        let len = text_len(ticket.body().len());
        if len > MAX_TEXT_LEN {
            return Err(TicketError::TooLong {
                len,
                max: MAX_TEXT_LEN,
            });
        }
        Ok(ticket)
    }

    /// A ticket to `topic` that introduces as many of `peers` as there is room for, with as many of
    /// their addresses. IPv6 addresses go without scope and flow label, as in [`new`](Self::new).
    ///
    /// There are machines with more addresses than a ticket takes, and nobody reads a text that is too long.
    /// The first peers stay; of the addresses, relays go before what is good anywhere, then come private
    /// networks, and last what only this machine can use.
    ///
    /// ```
    /// # use iroh_base::{EndpointAddr, SecretKey};
    /// # use smol_gossip::{TopicId, ticket::{MAX_ADDRS_PER_PEER, Ticket}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// let id = SecretKey::from_bytes(&[1; 32]).public();
    /// let addrs = (1..100).map(|n| ([192, 0, 2, n], 4433).into());
    /// let me = addrs.fold(EndpointAddr::new(id), EndpointAddr::with_ip_addr);
    /// let ticket = Ticket::fitting(topic, vec![me]);
    /// assert_eq!(ticket.peers()[0].addrs.len(), MAX_ADDRS_PER_PEER);
    /// ```
    pub fn fitting(topic: TopicId, peers: Vec<EndpointAddr>) -> Self {
        let peers = peers.into_iter().take(MAX_PEERS);
        let mut peers: Vec<_> = peers.map(for_others).collect();
        for peer in &mut peers {
            while peer.addrs.len() > MAX_ADDRS_PER_PEER && leave_out_addr(peer) {}
        }
        let mut ticket = Self { topic, peers };
        while text_len(ticket.body().len()) > MAX_TEXT_LEN {
            let most = ticket.peers.iter_mut().max_by_key(|peer| peer.addrs.len());
            if !most.is_some_and(leave_out_addr) {
                // Ids alone always fit.
                break;
            }
        }
        ticket
    }

    /// The topic.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, ticket::Ticket};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// assert_eq!(Ticket::new(topic, vec![])?.topic(), topic);
    /// # Ok::<(), smol_gossip::ticket::TicketError>(())
    /// ```
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    /// Peers that are in the topic, and where they were last to be found.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, ticket::Ticket};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// assert!(Ticket::new(topic, vec![])?.peers().is_empty());
    /// # Ok::<(), smol_gossip::ticket::TicketError>(())
    /// ```
    pub fn peers(&self) -> &[EndpointAddr] {
        &self.peers
    }

    /// Topic and peers.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, ticket::Ticket};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// let (topic, peers) = Ticket::new(topic, vec![])?.into_parts();
    /// # assert_eq!((topic.as_bytes(), peers.len()), (&[7; 32], 0));
    /// # Ok::<(), smol_gossip::ticket::TicketError>(())
    /// ```
    pub fn into_parts(self) -> (TopicId, Vec<EndpointAddr>) {
        (self.topic, self.peers)
    }

    fn check_counts(self) -> Result<Self, TicketError> {
        let count = self.peers.len();
        if count > MAX_PEERS {
            return Err(TicketError::TooManyPeers {
                count,
                max: MAX_PEERS,
            });
        }
        let count = self
            .peers
            .iter()
            .map(|peer| peer.addrs.len())
            .max()
            .unwrap_or(0);
        if count > MAX_ADDRS_PER_PEER {
            return Err(TicketError::TooManyAddrs {
                count,
                max: MAX_ADDRS_PER_PEER,
            });
        }
        Ok(self)
    }

    fn body(&self) -> Vec<u8> {
        postcard::to_stdvec(&(&self.topic, &self.peers)).expect("serializes to memory")
    }

    fn from_body(body: &[u8]) -> Result<Self, TicketError> {
        match postcard::take_from_bytes(body) {
            // Reading may make an address longer than it was written, as in a URL with letters that
            // are escaped, so all is checked that is checked of a new one.
            Ok(((topic, peers), [])) => Self::new(topic, peers),
            Ok((_, [_, ..])) | Err(_) => Err(TicketError::Malformed),
        }
    }
}

/// A peer as others know it. The text has no place for the scope of an IPv6 address, which numbers
/// the interfaces of one machine, nor for its flow label.
fn for_others(mut peer: EndpointAddr) -> EndpointAddr {
    let addrs = peer.addrs.into_iter().map(|addr| match addr {
        TransportAddr::Ip(SocketAddr::V6(addr)) => {
            TransportAddr::Ip(SocketAddr::from((*addr.ip(), addr.port())))
        }
        addr => addr,
    });
    peer.addrs = addrs.collect();
    peer
}

/// Leaves out the address of a peer that is of use to the fewest; `false` where there is none.
fn leave_out_addr(peer: &mut EndpointAddr) -> bool {
    let Some(least) = peer.addrs.iter().max_by_key(|addr| distance(addr)).cloned() else {
        return false;
    };
    peer.addrs.remove(&least)
}

/// The smaller, the more can use an address.
fn distance(addr: &TransportAddr) -> u8 {
    match addr {
        TransportAddr::Relay(_) => 0,
        TransportAddr::Ip(addr) => match addr.ip().to_canonical() {
            IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() || ip.is_link_local() => 4,
            // Where container bridges are, mostly.
            IpAddr::V4(ip) if ip.is_private() && ip.octets()[0] == 172 => 3,
            IpAddr::V4(ip) if ip.is_private() => 2,
            IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => 4,
            IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfe80 => 4,
            IpAddr::V6(ip) if ip.segments()[0] & 0xfe00 == 0xfc00 => 2,
            _ => 1,
        },
        _ => 1,
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        let len = u16::try_from(body.len()).expect("bounded by MAX_TEXT_LEN");
        let mut bytes = vec![VERSION];
        bytes.extend(len.to_be_bytes());
        bytes.extend(body);
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        f.write_str(PREFIX)?;
        f.write_str(&BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads a ticket, in either case. There must be nothing around it: trim what was pasted.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let len = text.len();
        if len > MAX_TEXT_LEN {
            return Err(TicketError::TooLong {
                len,
                max: MAX_TEXT_LEN,
            });
        }
        let (prefix, code) = text
            .split_at_checked(PREFIX.len())
            .ok_or(TicketError::WrongPrefix)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(TicketError::WrongPrefix);
        }
        if let Some((position, character)) = bad_character(code) {
            let position = PREFIX.len() + position;
            return Err(TicketError::BadCharacter {
                character,
                position,
            });
        }
        let code = code.to_ascii_uppercase();
        let truncated = |expected| TicketError::Truncated { len, expected };
        let header = code.get(..HEADER_TEXT_LEN).ok_or(truncated(text_len(0)))?;
        let header = BASE32_NOPAD
            .decode(header.as_bytes())
            .map_err(|_| TicketError::Corrupt)?;
        let expected = text_len(u16::from_be_bytes([header[1], header[2]]).into());
        if expected > MAX_TEXT_LEN {
            // There is no such ticket to find the rest of: its length was mistyped.
            return Err(TicketError::Corrupt);
        }
        if len < expected {
            return Err(truncated(expected));
        }
        let bytes = BASE32_NOPAD
            .decode(code.as_bytes())
            .map_err(|_| TicketError::Corrupt)?;
        let (summed, sum) = bytes.split_last_chunk().ok_or(TicketError::Corrupt)?;
        if len > expected || checksum(summed) != *sum {
            return Err(TicketError::Corrupt);
        }
        // Only now: a version that was mistyped is not a version that is unknown.
        if summed[0] != VERSION {
            return Err(TicketError::UnknownVersion { version: summed[0] });
        }
        Self::from_body(&summed[HEADER_LEN..])
    }
}

/// As text where the format is for people, and else as topic and peers.
impl Serialize for Ticket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (&self.topic, &self.peers).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Ticket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            let (topic, peers) = Deserialize::deserialize(deserializer)?;
            Self::new(topic, peers).map_err(de::Error::custom)
        }
    }
}

/// Why a ticket could not be made or read. There is none, and nothing else has changed.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
#[non_exhaustive]
pub enum TicketError {
    /// There is more text than a ticket can have.
    #[display("a ticket has at most {max} characters, not {len}")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How long a ticket can be.
        max: usize,
    },
    /// It does not begin with `gossip`: it is something else.
    #[display("not a gossip ticket: those begin with \"{PREFIX}\"")]
    WrongPrefix,
    /// There is a character that no ticket has.
    #[display("{character:?} at position {position} does not belong in a ticket")]
    BadCharacter {
        /// The first such character.
        character: char,
        /// How many bytes are before it.
        position: usize,
    },
    /// The end is missing.
    #[display("the ticket is cut off: {len} of {expected} characters are there")]
    Truncated {
        /// How many characters there are.
        len: usize,
        /// How many there should be, at least.
        expected: usize,
    },
    /// The checksum does not match, or there is something behind the ticket.
    #[display("the ticket was mistyped: its checksum does not match")]
    Corrupt,
    /// It is intact, and of a version that is not known here.
    #[display("version {version} of tickets is not known: it needs a newer release")]
    UnknownVersion {
        /// Its version.
        version: u8,
    },
    /// It is intact, and what is in it cannot be read, such as an address of an unknown kind.
    #[display("the ticket's content cannot be read")]
    Malformed,
    /// It names too many peers.
    #[display("a ticket names at most {max} peers, not {count}")]
    TooManyPeers {
        /// How many it names.
        count: usize,
        /// How many it can name.
        max: usize,
    },
    /// It has too many addresses for one peer.
    #[display("a ticket has at most {max} addresses for a peer, not {count}")]
    TooManyAddrs {
        /// How many it has for the peer that has most.
        count: usize,
        /// How many it can have.
        max: usize,
    },
}

impl std::error::Error for TicketError {}

/// The length of the text of a ticket with a body of `len` bytes.
fn text_len(len: usize) -> usize {
    PREFIX.len() + BASE32_NOPAD.encode_len(HEADER_LEN + len + CHECKSUM_LEN)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = blake3::hash(bytes);
    *hash.as_bytes().first_chunk().expect("a hash is longer")
}

fn bad_character(code: &str) -> Option<(usize, char)> {
    code.char_indices()
        .find(|(_, character)| !matches!(character, 'a'..='z' | 'A'..='Z' | '2'..='7'))
}

#[cfg(test)]
mod tests;
