//! The network that users get: an iroh endpoint.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_lite::{StreamExt, future};
use iroh::{
    Endpoint, EndpointId, Watcher,
    endpoint::{self, ConnectOptions, QuicTransportConfig, VarInt},
    protocol::IncomingFilterOutcome,
};

use super::{
    BoxFuture, BoxStream, Broken, Connection, Handshake, Learnt, RecvStream, SendStream, Transport,
};
use crate::{
    net::{
        addr_info::AddrInfo,
        address_lookup::{GossipAddressLookup, Teller},
        admission::Admission,
        hold::STREAMS_AT_FIRST,
    },
    proto::PeerData,
};

/// Flow-control window of a connection that we dial, in bytes, for all its streams together.
///
/// With iroh's much larger default windows a node under load in both directions drops its own
/// packets; windows up to this size do not, and do not cost throughput.
pub(crate) const RECEIVE_WINDOW: u32 = 128 * 1024;

/// What we have on the way to a peer on a connection that we dial, in bytes: as much is kept until it is acknowledged,
/// whatever window the peer offers.
const SEND_WINDOW: u64 = 8 * RECEIVE_WINDOW as u64;

/// How long a connection may be silent until it counts as lost. iroh sends something every five
/// seconds, so this takes three losses in a row; QUIC uses the smaller value of both sides.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the round trip is taken for until it is measured. Less than a peer is given that nothing is
/// known of (a third of a second), as browsers do: a first packet that is lost is sent again
/// sooner, and an endpoint that is closed while a dial gets no answer waits for nine times this.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// The code that we close connections and stop streams with. It means nothing to anyone.
const CLOSE_CODE: VarInt = VarInt::from_u32(0);

/// The QUIC parameters that suit gossip: what this crate dials with. The peer may open up to `streams` streams at
/// first, or as many as are allowed at first at the most: what was allowed once cannot be taken back.
pub(crate) fn transport_config(streams: u32) -> QuicTransportConfig {
    QuicTransportConfig::builder()
        .receive_window(RECEIVE_WINDOW.into())
        .stream_receive_window(RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        .max_concurrent_uni_streams(streams.min(STREAMS_AT_FIRST).into())
        .max_idle_timeout(IDLE_TIMEOUT.try_into().ok())
        .initial_rtt(INITIAL_RTT)
        .build()
}

/// An iroh endpoint as a [`Transport`].
pub(crate) struct IrohTransport {
    endpoint: Endpoint,
    alpn: Bytes,
    config: QuicTransportConfig,
    lookup: GossipAddressLookup,
    admission: Arc<Admission>,
}

impl IrohTransport {
    /// Attaches to an endpoint and adds our address lookup to it.
    ///
    /// Connections are dialed with `alpn`, and let the peer open `streams` streams at once. Those
    /// that others make are let in as `admission` says.
    pub(crate) fn new(
        endpoint: Endpoint,
        alpn: Bytes,
        streams: u32,
        lookup: GossipAddressLookup,
        admission: Arc<Admission>,
    ) -> Self {
        // A closed endpoint has no address lookup any more, and will not need one.
        if let Ok(services) = endpoint.address_lookup() {
            services.add(lookup.clone());
        }
        Self {
            endpoint,
            alpn,
            config: transport_config(streams),
            lookup,
            admission,
        }
    }
}

/// So many attempts are turned away in one go: those that wait may be many thousands.
const TURNED_AWAY_AT_ONCE: u32 = 16;

/// The next connection attempt that is let in.
async fn admitted(endpoint: &Endpoint, admission: &Admission) -> Option<endpoint::Incoming> {
    for turned_away in 1.. {
        let incoming = endpoint.accept().await?;
        match admission.decide(&incoming) {
            IncomingFilterOutcome::Accept => return Some(incoming),
            // Fails where the address is proven, and nobody is asked to prove that again.
            IncomingFilterOutcome::Retry => drop(incoming.retry()),
            _ => incoming.ignore(),
        }
        if turned_away % TURNED_AWAY_AT_ONCE == 0 {
            future::yield_now().await;
        }
    }
    None
}

impl Transport for IrohTransport {
    type Connection = endpoint::Connection;

    fn local_id(&self) -> EndpointId {
        self.endpoint.id()
    }

    fn local_data(&self) -> PeerData {
        AddrInfo::from(self.endpoint.addr()).encode()
    }

    fn local_data_changes(&self) -> BoxStream<PeerData> {
        // From what it is now: it may have changed since it was last looked at.
        let addresses = self.endpoint.watch_addr().stream();
        Box::pin(addresses.map(|addr| AddrInfo::from(addr).encode()))
    }

    fn connect(&self, peer: EndpointId) -> Handshake<endpoint::Connection> {
        let endpoint = self.endpoint.clone();
        let alpn = self.alpn.clone();
        let options = ConnectOptions::new().with_transport_config(self.config.clone());
        Box::pin(async move {
            endpoint
                .connect_with_opts(peer, &alpn, options)
                .await
                .map_err(Broken::from_error)?
                .await
                .map_err(Broken::from_error)
        })
    }

    fn accept(&self) -> BoxFuture<Option<Handshake<endpoint::Connection>>> {
        let endpoint = self.endpoint.clone();
        let alpn = self.alpn.clone();
        let admission = self.admission.clone();
        Box::pin(async move {
            let incoming = admitted(&endpoint, &admission).await?;
            let handshake: Handshake<endpoint::Connection> = Box::pin(async move {
                let connection = incoming
                    .accept()
                    .map_err(Broken::from_error)?
                    .await
                    .map_err(Broken::from_error)?;
                if connection.alpn() != &alpn[..] {
                    connection.close(CLOSE_CODE, b"another protocol");
                    return Err(Broken("the peer wants another protocol".into()));
                }
                Ok(connection)
            });
            Some(handshake)
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
        let evicted = self.lookup.learn(peer, info, teller, now)?;
        Some(Learnt { evicted, left_out })
    }

    fn knows(&self, peer: EndpointId, teller: Teller) -> bool {
        self.lookup.knows(&peer, teller)
    }

    fn set_crowded(&mut self, crowded: bool) {
        self.admission.set_crowded(crowded);
    }

    fn forget_stale(&mut self, now: Instant) -> Option<Instant> {
        self.lookup.forget_stale(now)
    }
}

impl Connection for endpoint::Connection {
    type Send = endpoint::SendStream;
    type Recv = endpoint::RecvStream;

    fn remote_id(&self) -> EndpointId {
        self.remote_id()
    }

    fn allow_streams(&self, count: u32) {
        self.set_max_concurrent_uni_streams(count.into());
    }

    fn open_stream(&self) -> impl Future<Output = Result<Self::Send, Broken>> + Send + 'static {
        let connection = self.clone();
        async move { connection.open_uni().await.map_err(Broken::from_error) }
    }

    fn accept_stream(&self) -> impl Future<Output = Result<Self::Recv, Broken>> + Send + 'static {
        let connection = self.clone();
        async move { connection.accept_uni().await.map_err(Broken::from_error) }
    }

    fn closed(&self) -> impl Future<Output = Broken> + Send + 'static {
        let connection = self.clone();
        async move { Broken::from_error(connection.closed().await) }
    }

    fn close(&self, reason: &'static str) {
        endpoint::Connection::close(self, CLOSE_CODE, reason.as_bytes());
    }
}

impl SendStream for endpoint::SendStream {
    async fn write_all(&mut self, chunks: &mut [Bytes]) -> Result<(), Broken> {
        self.write_all_chunks(chunks)
            .await
            .map_err(Broken::from_error)
    }

    async fn finish(mut self) -> Result<(), Broken> {
        endpoint::SendStream::finish(&mut self).map_err(Broken::from_error)?;
        match self.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(Broken(format!("the peer stopped the stream: {code}"))),
            Err(error) => Err(Broken::from_error(error)),
        }
    }
}

impl RecvStream for endpoint::RecvStream {
    async fn read(&mut self, chunks: &mut [Bytes]) -> Result<usize, Broken> {
        match self.read_many_chunks(chunks).await {
            Ok(count) => Ok(count.unwrap_or(0)),
            Err(error) => Err(Broken::from_error(error)),
        }
    }

    fn stop(&mut self) {
        // Fails where the stream has ended already, and then there is nothing to stop.
        let _ = endpoint::RecvStream::stop(self, CLOSE_CODE);
    }
}
