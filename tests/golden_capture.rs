//! Makes a live node of `iroh-gossip` 0.101 write every kind of frame, over real QUIC on loopback.
//!
//! As a test it holds what the node writes today against the committed golden vectors. To write
//! the vectors anew:
//!
//! ```sh
//! GOLDEN_WRITE=1 cargo test --test golden_capture
//! ```
//!
//! The peers of the node are bare iroh endpoints, [`Raw`], which say just enough to provoke it.

mod golden;

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use golden::*;
use iroh::{
    Endpoint, EndpointAddr, PublicKey, RelayMode,
    address_lookup::memory::MemoryLookup,
    endpoint::{Connection, RecvStream, SendStream, presets},
    protocol::Router,
};
use smol_gossip::proto::{
    Message, MessageId, PeerData, PeerInfo,
    hyparview::{self, Disconnect, Neighbor, Priority, Shuffle, Ttl},
    plumtree::{self, DeliveryScope, Gossip, Graft, IHave, Round},
    wire,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

const MAX: usize = 4096;

/// Announced by B with no hop, then sent by A with twenty.
const LONG_WAY: &[u8] = b"announced by b, and come a long way through a";

async fn bind(key: u8, lookup: &MemoryLookup) -> TestResult<Endpoint> {
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(secret_key(key))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .address_lookup(lookup.clone())
        .alpns(vec![iroh_gossip::ALPN.to_vec()])
        .bind()
        .await?;
    let addr = EndpointAddr::new(endpoint.id()).with_ip_addr(endpoint.bound_sockets()[0]);
    lookup.add_endpoint_info(addr);
    Ok(endpoint)
}

/// A frame as it came off a stream, and the header of that stream.
#[derive(Clone, Debug)]
struct Frame {
    header: Bytes,
    body: Bytes,
}

impl Frame {
    fn message(&self) -> Message<PublicKey> {
        wire::decode(self.body.clone()).expect("upstream's frames can be read")
    }
}

/// Reads a frame on its own terms, not on those of the code under test.
async fn read_frame(stream: &mut RecvStream) -> Option<Bytes> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.ok()?;
    let mut body = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut body).await.ok()?;
    Some(body.into())
}

/// A bare connection to the node under observation, and everything that came over it.
struct Raw {
    out: SendStream,
    frames: mpsc::UnboundedReceiver<Frame>,
    seen: Vec<Frame>,
}

impl Raw {
    async fn new(connection: Connection) -> TestResult<Self> {
        let mut out = connection.open_uni().await?;
        let header = wire::StreamHeader { topic_id: TOPIC };
        out.write_all(&header.encode()).await?;
        let (tx, frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(mut stream) = connection.accept_uni().await {
                let tx = tx.clone();
                tokio::spawn(async move {
                    let header = read_frame(&mut stream).await?;
                    while let Some(body) = read_frame(&mut stream).await {
                        let header = header.clone();
                        tx.send(Frame { header, body }).ok()?;
                    }
                    Some(())
                });
            }
        });
        Ok(Self {
            out,
            frames,
            seen: Vec::new(),
        })
    }

    async fn accept(endpoint: &Endpoint) -> TestResult<Self> {
        let incoming = timeout(Duration::from_secs(10), endpoint.accept()).await?;
        Self::new(incoming.ok_or("endpoint closed")?.await?).await
    }

    async fn dial(endpoint: &Endpoint) -> TestResult<Self> {
        Self::new(endpoint.connect(id(UPSTREAM), iroh_gossip::ALPN).await?).await
    }

    async fn send(&mut self, message: impl Into<Said>) -> TestResult {
        let frame = wire::encode(&message.into().0, MAX)?;
        Ok(self.out.write_all(&frame).await?)
    }

    /// Waits for a frame, or takes one that came already.
    async fn expect(
        &mut self,
        what: &str,
        is_it: impl Fn(&Message<PublicKey>) -> bool,
    ) -> TestResult<Frame> {
        if let Some(at) = self.seen.iter().position(|frame| is_it(&frame.message())) {
            return Ok(self.seen.remove(at));
        }
        loop {
            let frame = timeout(Duration::from_secs(15), self.frames.recv())
                .await
                .map_err(|_| format!("{what} does not come; came: {:?}", self.seen))?
                .ok_or_else(|| format!("connection closed before {what}"))?;
            if is_it(&frame.message()) {
                return Ok(frame);
            }
            self.seen.push(frame);
        }
    }

    async fn expect_swarm(
        &mut self,
        what: &str,
        is_it: impl Fn(&hyparview::Message<PublicKey>) -> bool,
    ) -> TestResult<Bytes> {
        let frame = self
            .expect(what, |message| match message {
                Message::Swarm(message) => is_it(message),
                Message::Gossip(_) => false,
            })
            .await?;
        Ok(frame.body)
    }

    async fn expect_gossip(
        &mut self,
        what: &str,
        is_it: impl Fn(&plumtree::Message) -> bool,
    ) -> TestResult<Bytes> {
        let frame = self
            .expect(what, |message| match message {
                Message::Gossip(message) => is_it(message),
                Message::Swarm(_) => false,
            })
            .await?;
        Ok(frame.body)
    }

    async fn expect_content(&mut self, content: &[u8]) -> TestResult<Bytes> {
        self.expect_gossip(&format!("{content:?}"), |message| match message {
            plumtree::Message::Gossip(gossip) => gossip.content == content,
            _ => false,
        })
        .await
    }
}

/// What a peer says.
struct Said(Message<PublicKey>);

impl From<hyparview::Message<PublicKey>> for Said {
    fn from(message: hyparview::Message<PublicKey>) -> Self {
        Self(Message::Swarm(message))
    }
}

impl From<plumtree::Message> for Said {
    fn from(message: plumtree::Message) -> Self {
        Self(Message::Gossip(message))
    }
}

fn neighbor() -> hyparview::Message<PublicKey> {
    hyparview::Message::Neighbor(Neighbor {
        priority: Priority::High,
        data: None,
    })
}

fn payload(content: &'static [u8], round: u16) -> plumtree::Message {
    plumtree::Message::Gossip(Gossip {
        id: MessageId::from_content(content),
        content: Bytes::from_static(content),
        scope: DeliveryScope::Swarm(Round::from(round)),
    })
}

fn announcement(content: &[u8], round: u16) -> plumtree::Message {
    plumtree::Message::IHave(
        [IHave {
            id: MessageId::from_content(content),
            round: Round::from(round),
        }]
        .into(),
    )
}

/// Runs the whole play, and returns one body of every kind.
async fn capture() -> TestResult<BTreeMap<&'static str, Bytes>> {
    let lookup = MemoryLookup::new();
    let upstream = bind(UPSTREAM, &lookup).await?;
    let [at_a, at_b, at_c] = [
        bind(A, &lookup).await?,
        bind(B, &lookup).await?,
        bind(C, &lookup).await?,
    ];
    let gossip = iroh_gossip::Gossip::builder()
        .membership_config(iroh_gossip::proto::HyparviewConfig {
            active_view_capacity: 2,
            shuffle_interval: Duration::from_millis(700),
            ..Default::default()
        })
        .broadcast_config(iroh_gossip::proto::PlumtreeConfig {
            // Time for a payload to overtake the Graft.
            graft_timeout_1: Duration::from_secs(3),
            ..Default::default()
        })
        .spawn(upstream.clone());
    let router = Router::builder(upstream)
        .accept(iroh_gossip::ALPN, gossip.clone())
        .spawn();
    let mut captured = BTreeMap::new();

    // The node joins through A.
    let topic_id = iroh_gossip::TopicId::from_bytes(*TOPIC.as_bytes());
    let mut topic = gossip.subscribe(topic_id, vec![id(A)]).await?;
    let mut a = Raw::accept(&at_a).await?;
    let join = a
        .expect("Join", |m| {
            matches!(m, Message::Swarm(hyparview::Message::Join(_)))
        })
        .await?;
    captured.insert("header", join.header);
    captured.insert("join", join.body);
    a.send(neighbor()).await?;
    let is_neighbor = |m: &_| matches!(m, hyparview::Message::Neighbor(_));
    a.expect_swarm("Neighbor", is_neighbor).await?;
    // Upstream waits for an answer to its own answer before it counts the request as settled.
    a.send(neighbor()).await?;

    // B joins through the node.
    let mut b = Raw::dial(&at_b).await?;
    let b_data = PeerData::new(&b"b is here"[..]);
    b.send(hyparview::Message::Join(Some(b_data.clone())))
        .await?;
    let accepted = b.expect_swarm("Neighbor", is_neighbor).await?;
    captured.insert("neighbor_high", accepted);
    b.send(neighbor()).await?;
    let introduced = a
        .expect_swarm("ForwardJoin", |m| {
            matches!(m, hyparview::Message::ForwardJoin(_))
        })
        .await?;
    captured.insert("forward_join", introduced);

    // The node broadcasts, and forwards.
    topic.broadcast(TO_SWARM.into()).await?;
    captured.insert("gossip_swarm", a.expect_content(TO_SWARM).await?);
    topic.broadcast_neighbors(TO_NEIGHBORS.into()).await?;
    captured.insert("gossip_neighbors", a.expect_content(TO_NEIGHBORS).await?);
    a.send(payload(FROM_A, 0)).await?;
    captured.insert("gossip_forwarded", b.expect_content(FROM_A).await?);

    // A duplicate makes B lazy, and a lazy peer gets announcements.
    b.send(payload(FROM_A, 0)).await?;
    let prune = b
        .expect_gossip("Prune", |m| matches!(m, plumtree::Message::Prune))
        .await?;
    captured.insert("prune", prune);
    topic.broadcast(ANNOUNCED.into()).await?;
    let announced = MessageId::from_content(ANNOUNCED);
    let ihave = b
        .expect_gossip("IHave", |m| match m {
            plumtree::Message::IHave(list) => list.iter().any(|ihave| ihave.id == announced),
            _ => false,
        })
        .await?;
    captured.insert("ihave", ihave);

    // Announcements make the node ask, or put B where A was in the tree.
    a.send(announcement(NEVER_SENT, NEVER_SENT_ROUND)).await?;
    let is_graft = |m: &_, of: Option<MessageId>| match m {
        plumtree::Message::Graft(Graft { id, .. }) => *id == of,
        _ => false,
    };
    let wanted = Some(MessageId::from_content(NEVER_SENT));
    let graft = a.expect_gossip("Graft", |m| is_graft(m, wanted)).await?;
    captured.insert("graft", graft);
    b.send(announcement(LONG_WAY, 0)).await?;
    sleep(Duration::from_millis(200)).await;
    a.send(payload(LONG_WAY, 20)).await?;
    let graft = b.expect_gossip("bare Graft", |m| is_graft(m, None)).await?;
    captured.insert("graft_without_id", graft);

    // Shuffles. The one of A tells the node of C.
    let is_shuffle = |m: &_| matches!(m, hyparview::Message::Shuffle(_));
    let shuffle = tokio::select! {
        shuffle = a.expect_swarm("Shuffle", is_shuffle) => shuffle?,
        shuffle = b.expect_swarm("Shuffle", is_shuffle) => shuffle?,
    };
    captured.insert("shuffle", shuffle);
    let known = |of| PeerInfo {
        id: id(of),
        data: None,
    };
    a.send(hyparview::Message::Shuffle(Shuffle {
        origin: id(A),
        nodes: vec![known(A), known(C)],
        ttl: Ttl(0),
    }))
    .await?;
    let reply = a
        .expect_swarm("ShuffleReply", |m| {
            matches!(m, hyparview::Message::ShuffleReply(_))
        })
        .await?;
    captured.insert("shuffle_reply", reply);

    // B leaves, so the node asks C, with room for it; and B comes again, when there is none.
    b.send(hyparview::Message::Disconnect(Disconnect::new(false)))
        .await?;
    let mut c = Raw::accept(&at_c).await?;
    let asked = c.expect_swarm("Neighbor", is_neighbor).await?;
    captured.insert("neighbor_low", asked);
    c.send(neighbor()).await?;
    sleep(Duration::from_millis(200)).await;
    let mut b = Raw::dial(&at_b).await?;
    b.send(hyparview::Message::Join(Some(b_data))).await?;
    b.expect_swarm("Neighbor", is_neighbor).await?;
    let is_disconnect = |m: &_| matches!(m, hyparview::Message::Disconnect(_));
    let dropped = tokio::select! {
        dropped = a.expect_swarm("Disconnect", is_disconnect) => dropped?,
        dropped = c.expect_swarm("Disconnect", is_disconnect) => dropped?,
    };
    captured.insert("disconnect_alive", dropped);

    // The node leaves.
    drop(topic);
    let left = b.expect_swarm("Disconnect", is_disconnect).await?;
    captured.insert("disconnect_leaving", left);
    router.shutdown().await?;
    Ok(captured)
}

/// What must be equal from one run to the next: everything but the addresses of the node, which
/// has another port each time, and the choices that it makes by chance.
fn without_chance(body: &Bytes) -> Message<PublicKey> {
    let mut message = wire::decode(body.clone()).expect("upstream's frames can be read");
    let no_addresses = Some(PeerData::default());
    if let Message::Swarm(message) = &mut message {
        match message {
            hyparview::Message::Join(data) => *data = no_addresses,
            hyparview::Message::Neighbor(neighbor) => neighbor.data = no_addresses,
            hyparview::Message::Shuffle(shuffle) => shuffle.nodes.clear(),
            hyparview::Message::ShuffleReply(reply) => reply.nodes.clear(),
            hyparview::Message::ForwardJoin(_) | hyparview::Message::Disconnect(_) => {}
        }
    }
    message
}

#[tokio::test]
async fn upstream_still_writes_the_golden_vectors() -> TestResult {
    let captured = timeout(Duration::from_secs(60), capture()).await??;
    let mut kinds = KINDS;
    kinds.sort();
    assert_eq!(captured.keys().copied().collect::<Vec<_>>(), kinds);
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        for (kind, body) in &captured {
            store(kind, body);
        }
    }
    for (kind, body) in &captured {
        let golden = Bytes::from(load(kind));
        if *kind == "header" {
            assert_eq!(*body, golden, "{kind}");
            continue;
        }
        assert_eq!(without_chance(body), without_chance(&golden), "{kind}");
        let message: Message<PublicKey> = wire::decode(body.clone())?;
        let frame = wire::encode(&message, MAX)?;
        assert_eq!(frame[wire::LENGTH_PREFIX..], body[..], "{kind}");
    }
    Ok(())
}
