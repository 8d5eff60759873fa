//! The bounds of the network layer.

use std::time::Duration;

use crate::proto;

/// The bounds of everything in a node that a peer can make grow, and what happens when one is
/// reached.
///
/// The defaults suit messages of 4 KiB and 30 neighbors. These are local decisions: nodes of one
/// swarm may differ. Any values can be given: what would leave a node deaf is raised to the least
/// that does not (one dial, one connection, one idle peer, one stream, one unit, a queue of four
/// messages), what peers are given time for is given a tenth of a second, and no time is longer than a
/// century.
///
/// ```
/// # use smol_gossip::net::Limits;
/// let mut limits = Limits::default();
/// limits.send_queue_bytes = 256 * 1024;
/// limits.protocol.cache_bytes = 1024 * 1024;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bounds of the protocol state of each topic.
    pub protocol: proto::Limits,
    /// Bytes that wait to be written to one peer. From half of it on, payloads for the swarm are replaced by
    /// announcements, which the peer answers with a Graft once it reads again. When full, payloads and
    /// announcements are dropped, and for a control message the peer is. A payload for neighbors is never
    /// announced: what is dropped of those cannot be asked for.
    pub send_queue_bytes: usize,
    /// How long a write to a peer may be stuck until the connection is dropped.
    pub stuck_timeout: Duration,
    /// How long a connection that no topic needs may stay silent until it is closed.
    pub idle_timeout: Duration,
    /// How long a peer may take from opening a stream to naming its topic. Then the connection
    /// is dropped.
    pub header_timeout: Duration,
    /// How long a dial may take until it counts as failed; and a handshake of a connection that is made
    /// to us, where the driver accepts it itself. Where as many as may be are under way, the oldest has one second.
    pub dial_timeout: Duration,
    /// How long [`Gossip::shutdown`](super::Gossip::shutdown) waits at the most for peers to take
    /// what was broadcast before, for half of this time, and our farewell. Nobody waits for peers that have been a
    /// burden lately. Closing the endpoint after that is iroh's part, and takes a second more where a dial has got
    /// no answer.
    pub shutdown_timeout: Duration,
    /// Streams that a peer may have open towards us on one connection, at the most; QUIC holds it
    /// to that. It is allowed 128 at first, and more as it uses them.
    pub streams_per_connection: u32,
    /// Connections to one peer. When there are more, the oldest is closed.
    pub connections_per_peer: usize,
    /// Peers connected to us that no topic needs, as everyone is until its Join has been read. When
    /// there are more, the one that connected first is closed, or the new one where none has had two seconds.
    pub idle_peers: usize,
    /// Dials under way at once. Others wait.
    pub dials: usize,
    /// Dials that wait. When full, a dial fails at once.
    pub waiting_dials: usize,
    /// Handshakes of incoming connections at once, where the driver accepts them itself. Others
    /// wait in the endpoint.
    pub handshakes: usize,
    /// Handshakes that one source may begin in a second: an IP address (the first 64 bits of an IPv6
    /// address; on this machine, an address with its port), or an endpoint behind a relay. Four seconds' worth
    /// may come at once. What comes beyond that is ignored; QUIC sends it again, and it gets in if there is
    /// room within some seconds.
    ///
    /// That is for who has proven its address. Another quarter of it may be begun in the name of an address
    /// that is not proven, and four times this in the names of all of them together; beyond that, proof is
    /// asked for, which takes a round trip. So nobody uses up what is another's.
    ///
    /// It is held by the driver where it accepts connections itself, and by
    /// [`Gossip::incoming_filter`](super::Gossip::incoming_filter).
    pub handshakes_per_second: u32,
    /// Peers whose addresses are remembered from introductions. When full, the longest unheard
    /// of is forgotten.
    pub known_addresses: usize,
    /// Topics joined at once. A subscription beyond that ends at once: its senders answer
    /// [`Closed`](crate::api::ApiError::Closed), and its events end.
    pub topics: usize,
    /// How much work a peer may cause in a second that leads to nothing, in units of a small control
    /// message; payloads that are new cost nothing, and those for the swarm make up for four units each. Four seconds'
    /// worth may come at once. Beyond that the peer is read no faster than this, while all others
    /// are read as before.
    pub burden_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            protocol: proto::Limits::default(),
            send_queue_bytes: 1024 * 1024,
            stuck_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(15),
            shutdown_timeout: Duration::from_secs(2),
            streams_per_connection: 1024,
            connections_per_peer: 4,
            idle_peers: 256,
            dials: 32,
            waiting_dials: 256,
            handshakes: 64,
            handshakes_per_second: 16,
            known_addresses: 1024,
            topics: 1 << 16,
            burden_per_second: 4096,
        }
    }
}

/// What a peer that is not far needs to do what is waited for.
const SHORTEST: Duration = Duration::from_millis(100);

/// A century. An instant this far from now can still be told.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Limits {
    /// Puts right what would leave a node deaf, or would be of no use to it.
    pub(super) fn sensible(mut self, max_message_size: usize) -> Self {
        for time in [
            &mut self.stuck_timeout,
            &mut self.idle_timeout,
            &mut self.header_timeout,
            &mut self.dial_timeout,
        ] {
            *time = (*time).clamp(SHORTEST, LONGEST);
        }
        self.shutdown_timeout = self.shutdown_timeout.min(LONGEST);
        for bound in [
            &mut self.connections_per_peer,
            // Who joins is needed only once its Join has been read.
            &mut self.idle_peers,
            &mut self.dials,
            &mut self.handshakes,
        ] {
            *bound = (*bound).max(1);
        }
        self.streams_per_connection = self.streams_per_connection.max(1);
        self.handshakes_per_second = self.handshakes_per_second.max(1);
        self.burden_per_second = self.burden_per_second.max(1);
        // A queue that is full drops the peer for a control message.
        let frames = max_message_size.saturating_mul(4);
        self.send_queue_bytes = self.send_queue_bytes.max(frames);
        self
    }
}
