//! A network in memory and in virtual time, for tests of the whole node under faults.
//!
//! It behaves as QUIC does where the driver can tell the difference. All randomness comes from one
//! seed and all time from a [`VirtualClock`], so that a run can be repeated to the last event.
//!
//! # What is modelled
//!
//! - Latency with jitter for every packet. Data of one stream stays in order; streams, credit and
//!   connections overtake each other.
//! - Handshakes of one round trip, and half a one more for who accepts; both sides may dial at once.
//! - Addresses: only a peer that the application introduced, that gossip taught of, or that was
//!   connected to until just now can be dialed. What gossip teaches is in the node's real book, and
//!   expires; an address that is not the peer's leads nowhere.
//! - Flow control by stream and by connection, given back as the reader reads; a limit of streams
//!   that are open at once, given back as streams end. Streams appear to the peer with their first
//!   data, in the order of their numbers.
//! - What has arrived can be read after the connection is gone, as with QUIC.
//! - A close overtakes or is overtaken by data, and undelivered data is lost with it.
//! - Paths that are cut, in one direction or in both: packets wait and arrive late when the path heals;
//!   a connection that hears nothing for [`PATH_TIMEOUT`] is gone.
//! - Nodes that crash, restart, sleep, or do not read for a while. Dials that fail or hang. Connections
//!   that die, noticed by both sides, one or none.
//!
//! # What is not
//!
//! Bandwidth, congestion and packet loss (they are latency here), relays and address changes of
//! live connections, stateless resets (who restarted is silent on old connections), 0-RTT and
//! unauthenticated peers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use ::iroh::{EndpointAddr, EndpointId};
use futures_lite::stream;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use smol_gossip_runtime::{Clock, VirtualClock};

use self::{
    connection::{Conn, End, Packet, Side},
    handles::Dialing,
};
use super::{BoxFuture, BoxStream, Broken, Handshake, Learnt, Transport};
use crate::{
    net::{
        addr_info::AddrInfo,
        address_lookup::{GossipAddressLookup, Teller},
    },
    proto::PeerData,
};

mod connection;
mod faults;
mod handles;
mod packets;
mod streams;

pub(crate) use self::{faults::DialFault, handles::MemoryConnection};

/// How long a connection lives without hearing anything, and a handshake without an answer.
pub(crate) const PATH_TIMEOUT: Duration = Duration::from_secs(15);

/// Streams that a peer may open at once unless told otherwise.
pub(crate) const DEFAULT_STREAMS: u64 = 100;

/// Bytes that a stream, and all streams of a connection together, take before they are read.
const WINDOW: u64 = 128 * 1024;

/// How long it is remembered where a peer was after the last connection to it is gone. As long as
/// iroh does.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How long after a path has healed packets are sent again, at the most.
const RETRANSMISSION: Duration = Duration::from_millis(1000);

/// The network. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct MemoryNetwork {
    clock: VirtualClock,
    net: Arc<Mutex<Net>>,
}

/// Everything about all nodes and connections.
pub(super) struct Net {
    now: Instant,
    start: Instant,
    rng: StdRng,
    latency: Range<Duration>,
    /// How long it is waited, at the most, until the end of a stream is acknowledged.
    ack_delay: Duration,
    /// What is going to happen, in order. The number keeps what happens at once in order.
    upcoming: BTreeMap<(Instant, u64), Event>,
    count: u64,
    sites: BTreeMap<EndpointId, Site>,
    connections: BTreeMap<u64, Conn>,
    last_connection: u64,
    faults: faults::Faults,
    /// To be woken once nothing is locked.
    woken: Vec<Waker>,
    trace: DefaultHasher,
}

/// A place where a node may run.
#[derive(Default)]
struct Site {
    up: bool,
    /// Changes with the node's addresses.
    version: u8,
    version_told: u8,
    changes: Option<Waker>,
    /// Whom the application introduced.
    introduced: BTreeSet<EndpointId>,
    /// When the last connection to each peer ended.
    met: BTreeMap<EndpointId, Instant>,
    incoming: VecDeque<u64>,
    accepting: Option<Waker>,
    /// Nothing can be read before this.
    reads_from: Option<Instant>,
    /// Bytes that can be read in a second.
    read_rate: Option<u32>,
    /// Nothing more can be read before this, at that rate.
    paced_until: Option<Instant>,
    /// Holds for all peers, whatever the node says.
    stream_limit: Option<u64>,
}

impl Site {
    /// Whether the node can read now.
    fn reads(&self, now: Instant) -> bool {
        let until = [self.reads_from, self.paced_until];
        until.into_iter().flatten().all(|until| until <= now)
    }
}

#[derive(Debug)]
enum Event {
    Packet { conn: u64, to: Side, packet: Packet },
    HandshakeTimeout { conn: u64 },
    PathTimeout { conn: u64, at: Side },
    Readable(EndpointId),
}

impl Hash for Event {
    /// What happens, and to whom. What is in the packets shows in what follows from them.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        mem::discriminant(self).hash(hasher);
        match self {
            Self::Packet { conn, to, packet } => {
                (conn, to, mem::discriminant(packet)).hash(hasher);
            }
            Self::HandshakeTimeout { conn } => conn.hash(hasher),
            Self::PathTimeout { conn, at } => (conn, at).hash(hasher),
            Self::Readable(id) => id.hash(hasher),
        }
    }
}

impl MemoryNetwork {
    pub(crate) fn new(clock: VirtualClock, seed: u64) -> Self {
        let now = clock.now();
        let net = Net {
            now,
            start: now,
            rng: StdRng::seed_from_u64(seed),
            latency: Duration::from_millis(5)..Duration::from_millis(40),
            ack_delay: Duration::ZERO,
            upcoming: BTreeMap::new(),
            count: 0,
            sites: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
            faults: faults::Faults::default(),
            woken: Vec::new(),
            trace: DefaultHasher::new(),
        };
        Self {
            clock,
            net: Arc::new(Mutex::new(net)),
        }
    }

    /// Attaches a node, also one that was attached before and crashed. It remembers the addresses of
    /// so many peers.
    pub(crate) fn attach(&self, id: EndpointId, known_addresses: usize) -> MemoryTransport {
        self.with(|net| net.sites.entry(id).or_default().up = true);
        MemoryTransport {
            network: self.clone(),
            id,
            book: GossipAddressLookup::new(known_addresses),
            crowded: false,
        }
    }

    /// When something happens next.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        self.with(|net| net.upcoming.keys().next().map(|(at, _)| *at))
    }

    /// Lets happen what is due.
    pub(crate) fn deliver(&self) {
        while self.with(Net::happen_one) {}
    }

    /// Runs of one seed have one trace.
    pub(crate) fn trace(&self) -> u64 {
        self.with(|net| net.trace.finish())
    }

    /// The open connections: a number of each, who dialed, and who accepted.
    pub(crate) fn open_connections(&self) -> Vec<(u64, EndpointId, EndpointId)> {
        self.with(|net| {
            let open = net.connections.iter().filter(|(_, conn)| conn.is_open());
            open.map(|(number, conn)| (*number, conn.dialer.node, conn.acceptor.node))
                .collect()
        })
    }

    /// Whether two nodes have an open connection on a path in order, and both read.
    pub(crate) fn is_healthy(&self, a: EndpointId, b: EndpointId) -> bool {
        self.with(|net| net.is_healthy(a, b))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Net) -> T) -> T {
        let now = self.clock.now();
        let mut net = self.net.lock().unwrap_or_else(PoisonError::into_inner);
        net.now = now;
        let result = act(&mut net);
        let woken = mem::take(&mut net.woken);
        // Not under the lock: a waker may run anything.
        drop(net);
        woken.into_iter().for_each(Waker::wake);
        result
    }
}

impl Net {
    fn schedule(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.upcoming.insert((at, self.count), event);
    }

    fn draw_latency(&mut self) -> Duration {
        self.rng.random_range(self.latency.clone())
    }

    /// Sends a packet.
    fn send(&mut self, conn: u64, to: Side, packet: Packet) {
        self.send_later(Duration::ZERO, conn, to, packet);
    }

    fn send_later(&mut self, wait: Duration, conn: u64, to: Side, packet: Packet) {
        let nodes = self.connections.get(&conn);
        let nodes = nodes.map(|pair| [pair.dialer.node, pair.acceptor.node]);
        let extra = self
            .faults
            .extra_latency(nodes.as_ref().map_or(&[], |nodes| nodes));
        let at = self.now + wait + self.draw_latency() + extra;
        self.schedule(at, Event::Packet { conn, to, packet });
    }

    fn happen_one(&mut self) -> bool {
        let Some(entry) = self.upcoming.first_entry() else {
            return false;
        };
        if entry.key().0 > self.now {
            return false;
        }
        let ((at, _), event) = entry.remove_entry();
        (at - self.start).hash(&mut self.trace);
        event.hash(&mut self.trace);
        match event {
            Event::Packet { conn, to, packet } => self.arrive(conn, to, packet),
            Event::HandshakeTimeout { conn } => self.handshake_timeout(conn),
            Event::PathTimeout { conn, at } => self.path_timeout(conn, at),
            Event::Readable(id) => self.wake_readers(id),
        }
        true
    }

    fn handshake_timeout(&mut self, conn: u64) {
        for side in [Side::Dialer, Side::Acceptor] {
            let handshaking = self
                .end(conn, side)
                .is_some_and(|end| matches!(end.phase, connection::Phase::Handshake));
            if handshaking {
                self.end_gone(conn, side, "handshake timed out");
            }
        }
    }

    fn path_timeout(&mut self, conn: u64, at: Side) {
        let now = self.now;
        let silent = self.end(conn, at).and_then(|end| end.silent_since);
        if silent.is_some_and(|since| since + PATH_TIMEOUT <= now) {
            self.end_gone(conn, at, "timed out");
        }
    }

    fn end(&mut self, conn: u64, side: Side) -> Option<&mut End> {
        Some(self.connections.get_mut(&conn)?.end(side))
    }

    fn site(&mut self, id: EndpointId) -> &mut Site {
        self.sites.entry(id).or_default()
    }

    /// Begins a handshake.
    ///
    /// `taught` is where the dialer was told that the peer is.
    fn dial(&mut self, from: EndpointId, to: EndpointId, taught: &[AddrInfo]) -> u64 {
        self.last_connection += 1;
        let conn = self.last_connection;
        self.connections.insert(conn, Conn::new(from, to));
        let known = self.knows(from, to);
        let misled = !known && !taught.iter().any(|taught| is_address_of(taught, to));
        let fault = self.faults.dial(from, to);
        match fault {
            _ if !known && taught.is_empty() => self.end_gone(conn, Side::Dialer, "no address"),
            Some(DialFault::Impossible) => self.end_gone(conn, Side::Dialer, "no route"),
            Some(DialFault::Hangs) => {}
            _ if misled => {}
            Some(DialFault::Refused) => {
                self.send(conn, Side::Dialer, Packet::Refused);
                self.schedule(self.now + PATH_TIMEOUT, Event::HandshakeTimeout { conn });
            }
            None => {
                self.send(conn, Side::Acceptor, Packet::Hello);
                self.schedule(self.now + PATH_TIMEOUT, Event::HandshakeTimeout { conn });
            }
        }
        conn
    }

    /// Whether a node can dial a peer without having been told by gossip.
    fn knows(&mut self, id: EndpointId, peer: EndpointId) -> bool {
        let now = self.now;
        let site = self.site(id);
        let met = site.met.get(&peer);
        let lately = met.is_some_and(|at| now < *at + REMEMBERED);
        lately || site.introduced.contains(&peer) || self.is_connected(id, peer)
    }

    fn is_connected(&self, id: EndpointId, peer: EndpointId) -> bool {
        let ends = |end: &End, other: &End| {
            end.node.as_bytes() == id.as_bytes()
                && other.node.as_bytes() == peer.as_bytes()
                && matches!(end.phase, connection::Phase::Open)
        };
        let mut connections = self.connections.values();
        connections
            .any(|conn| ends(&conn.dialer, &conn.acceptor) || ends(&conn.acceptor, &conn.dialer))
    }

    fn poll_incoming(&mut self, id: EndpointId, cx: &mut Context<'_>) -> Poll<u64> {
        let site = self.site(id);
        match site.incoming.pop_front() {
            Some(conn) => Poll::Ready(conn),
            None => {
                site.accepting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_changes(&mut self, id: EndpointId, cx: &mut Context<'_>) -> Poll<Option<PeerData>> {
        let site = self.site(id);
        if site.version_told == site.version {
            site.changes = Some(cx.waker().clone());
            return Poll::Pending;
        }
        site.version_told = site.version;
        Poll::Ready(Some(data_of(id, site.version)))
    }
}

/// What a node tells others to be dialed by.
fn data_of(id: EndpointId, version: u8) -> PeerData {
    let address = SocketAddr::new(ip_of(id), 1 + u16::from(version));
    AddrInfo::from(EndpointAddr::new(id).with_ip_addr(address)).encode()
}

fn ip_of(id: EndpointId) -> IpAddr {
    let bytes = id.as_bytes().first_chunk().copied();
    Ipv6Addr::from(bytes.unwrap_or([0_u8; 16])).into()
}

/// Whether a node is found there. Where it was before is as good as where it is.
fn is_address_of(info: &AddrInfo, id: EndpointId) -> bool {
    let address = info.clone().into_addr(id);
    let ip = ip_of(id);
    address.ip_addrs().any(|address| address.ip() == ip)
}

/// A node's end of a [`MemoryNetwork`].
pub(crate) struct MemoryTransport {
    network: MemoryNetwork,
    id: EndpointId,
    /// What gossip taught of addresses.
    pub(crate) book: GossipAddressLookup,
    /// Whether the node has said that it is crowded.
    pub(crate) crowded: bool,
}

impl Transport for MemoryTransport {
    type Connection = MemoryConnection;

    fn local_id(&self) -> EndpointId {
        self.id
    }

    fn local_data(&self) -> PeerData {
        self.network.with(|net| {
            let site = net.site(self.id);
            site.version_told = site.version;
            data_of(self.id, site.version)
        })
    }

    fn local_data_changes(&self) -> BoxStream<PeerData> {
        let (network, id) = (self.network.clone(), self.id);
        Box::pin(stream::poll_fn(move |cx| {
            network.with(|net| net.poll_changes(id, cx))
        }))
    }

    fn connect(&self, peer: EndpointId) -> Handshake<MemoryConnection> {
        let taught = self.book.addresses(&peer);
        let conn = self.network.with(|net| net.dial(self.id, peer, &taught));
        Box::pin(Dialing::new(self.network.clone(), conn, Side::Dialer, peer))
    }

    fn accept(&self) -> BoxFuture<Option<Handshake<MemoryConnection>>> {
        let (network, id) = (self.network.clone(), self.id);
        Box::pin(async move {
            loop {
                let poll = |cx: &mut Context<'_>| network.with(|net| net.poll_incoming(id, cx));
                let conn = poll_fn(poll).await;
                // None where the dialer has given up.
                if let Some(peer) = network.with(|net| net.begin_accept(conn)) {
                    let handshake = Dialing::new(network, conn, Side::Acceptor, peer);
                    return Some(Box::pin(handshake) as Handshake<_>);
                }
            }
        })
    }

    fn learn(
        &mut self,
        peer: EndpointId,
        data: &PeerData,
        teller: Teller,
        now: Instant,
    ) -> Option<Learnt> {
        let (info, left_out) = AddrInfo::decode(data).ok()?;
        let evicted = self.book.learn(peer, info, teller, now)?;
        Some(Learnt { evicted, left_out })
    }

    fn knows(&self, peer: EndpointId, teller: Teller) -> bool {
        self.book.knows(&peer, teller)
    }

    fn set_crowded(&mut self, crowded: bool) {
        self.crowded = crowded;
    }

    fn forget_stale(&mut self, now: Instant) -> Option<Instant> {
        self.book.forget_stale(now)
    }
}
