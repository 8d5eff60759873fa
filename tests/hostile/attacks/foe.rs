//! A hostile peer: an endpoint that nobody holds to the protocol.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey,
    endpoint::{
        Connection, QuicTransportConfig, QuicTransportConfigBuilder, RecvStream, SendStream,
        presets,
    },
};
use smol_gossip::{
    TopicId,
    net::GOSSIP_ALPN,
    proto::{
        Message, hyparview,
        wire::{self, StreamHeader},
    },
};

use super::{Foes, Target};

/// Something that the node did not put up with.
#[derive(Debug)]
pub struct Expelled;

impl<E: std::error::Error> From<E> for Expelled {
    fn from(_: E) -> Self {
        Self
    }
}

/// A hostile peer.
pub struct Foe {
    pub endpoint: Endpoint,
    target: Target,
}

/// QUIC parameters of attackers, who are missed soon when they are gone.
pub fn transport() -> QuicTransportConfigBuilder {
    let timeout = Duration::from_secs(4).try_into().expect("in QUIC's range");
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(timeout))
        .keep_alive_interval(Duration::from_secs(1))
}

/// The first key of attackers. Those below are honest.
const FIRST_KEY: u8 = 100;

pub fn foe_id(n: u8) -> EndpointId {
    SecretKey::from_bytes(&[FIRST_KEY + n; 32]).public()
}

impl Foe {
    pub async fn new(n: u8, target: &Target) -> Self {
        Self::with(n, target, transport().build()).await
    }

    pub async fn with(n: u8, target: &Target, config: QuicTransportConfig) -> Self {
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(SecretKey::from_bytes(&[FIRST_KEY + n; 32]))
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))
            .expect("loopback is an address")
            .address_lookup(target.book.clone())
            .alpns(vec![GOSSIP_ALPN.to_vec()])
            .transport_config(config)
            .bind()
            .await
            .expect("loopback is there");
        let addr = endpoint
            .bound_sockets()
            .into_iter()
            .fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr);
        target.book.set_endpoint_info(addr);
        Self {
            endpoint,
            target: target.clone(),
        }
    }

    pub async fn connect(&self) -> Connection {
        loop {
            let connection = self.endpoint.connect(self.target.id, GOSSIP_ALPN).await;
            match connection {
                Ok(connection) => return connection,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Does it over and over, each time on a new connection, and in no hurry once expelled.
    pub async fn again_and_again(&self, deed: impl AsyncFn(&Connection) -> Result<(), Expelled>) {
        loop {
            let connection = self.connect().await;
            match deed(&connection).await {
                Ok(()) => connection.close(0u32.into(), b""),
                Err(Expelled) => self.target.foes.note_expelled(),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Does it as a member of the topic, again when expelled.
    pub async fn as_member(&self, deed: impl AsyncFn(&mut Member) -> Result<(), Expelled>) {
        self.again_and_again(async |connection| {
            let mut member = Member::join(connection, self.target.topic).await?;
            member.foes = self.target.foes.clone();
            deed(&mut member).await
        })
        .await;
    }
}

/// A hostile peer that has joined the topic, and reads all that it is sent.
pub struct Member {
    pub connection: Connection,
    pub stream: SendStream,
    foes: Arc<Foes>,
    reading: tokio::task::JoinHandle<()>,
}

impl Member {
    pub async fn join(connection: &Connection, topic: TopicId) -> Result<Self, Expelled> {
        let mut member = Self::silent(connection, topic).await?;
        member.say(&join()).await?;
        Ok(member)
    }

    /// One that has not said that it wants to be a neighbor.
    pub async fn silent(connection: &Connection, topic: TopicId) -> Result<Self, Expelled> {
        let reading = tokio::spawn(read_all(connection.clone()));
        let stream = open(connection, topic).await?;
        Ok(Self {
            connection: connection.clone(),
            stream,
            foes: Arc::default(),
            reading,
        })
    }

    pub async fn say(&mut self, message: &Message<EndpointId>) -> Result<(), Expelled> {
        self.write(&frame(message)).await
    }

    /// Writes frames as they are.
    pub async fn write(&mut self, frames: &[u8]) -> Result<(), Expelled> {
        self.stream.write_all(frames).await?;
        self.foes.note_said();
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Opens a stream, and names its topic.
pub async fn open(connection: &Connection, topic: TopicId) -> Result<SendStream, Expelled> {
    let mut stream = connection.open_uni().await?;
    let header = StreamHeader { topic_id: topic };
    stream.write_all(&header.encode()).await?;
    Ok(stream)
}

/// A topic that nobody is in.
pub fn other_topic(n: u32) -> TopicId {
    blake3::hash(&n.to_be_bytes()).into()
}

pub fn join() -> Message<EndpointId> {
    Message::Swarm(hyparview::Message::Join(None))
}

pub fn frame(message: &Message<EndpointId>) -> Bytes {
    wire::encode(message, usize::MAX).expect("it has a frame")
}

/// The same frame many times, to be written at once.
pub fn many(message: &Message<EndpointId>, count: usize) -> Vec<u8> {
    frame(message).repeat(count)
}

/// Reads all streams to their ends, and throws away what comes.
async fn read_all(connection: Connection) {
    while let Ok(stream) = connection.accept_uni().await {
        tokio::spawn(read(stream));
    }
}

async fn read(mut stream: RecvStream) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(Some(_)) = stream.read(&mut buffer).await {}
}
