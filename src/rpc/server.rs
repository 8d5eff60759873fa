//! The server: a connection of a client is a task, and so is each of its subscriptions.

use std::{io, pin::pin};

use futures_lite::{FutureExt, StreamExt, future};
use irpc::rpc::{ERROR_CODE_INVALID_POSTCARD, read_request_raw};
use noq::{Connection, Incoming, RecvStream, SendStream};
use tokio::{runtime::Handle, task::JoinSet};
use tracing::{Instrument, debug, debug_span, error};

use super::{
    BATCH, COMMAND_OVERHEAD, JoinRequest, MAX_COMMAND, Request,
    frames::{FrameReader, FrameWriter, TooLong},
};
use crate::{
    api::{ApiError, Command, Event, GossipReceiver, GossipSender},
    net::Gossip,
};

/// Connections of clients at once. Further ones are refused.
const MAX_CLIENTS: usize = 256;

impl Gossip {
    /// Serves this node to other processes, which connect with [`GossipApi::connect`] or with that
    /// of `iroh_gossip`, until the endpoint is closed. Dropping the future ends what it serves.
    ///
    /// Whoever can connect may take part in any topic as this node, and there is no other check
    /// than the TLS of the endpoint: bind it to loopback. A connection has as many subscriptions as
    /// the endpoint allows streams (100 unless configured), and there are at most 256 connections.
    ///
    /// A client that reads slowly slows down nobody; it finds [`Event::Lagged`] as a slow receiver
    /// in this process does. A topic is left when the last of its subscriptions is gone, here or
    /// there. The commands of clients have no answer, so a message that is too large is dropped and
    /// counted as [`broadcast_too_large`](crate::metrics::Metrics::broadcast_too_large). So is a command of more
    /// than 64 KiB that messages may not have: some 1,900 peers to join.
    /// A client that sends what is no request loses its connection, and all subscriptions in it.
    ///
    /// This has to be polled in a tokio runtime, or [wrapped](smol_gossip_runtime::Context::wrap)
    /// into one. Without, it logs an error and returns at once.
    ///
    /// ```no_run
    /// # async fn serve(gossip: smol_gossip::Gossip) -> Result<(), Box<dyn std::error::Error>> {
    /// let (endpoint, cert) = irpc::util::make_server_endpoint("127.0.0.1:4433".parse()?)?;
    /// std::fs::write("gossip.der", cert)?;
    /// gossip.listen(endpoint).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`GossipApi::connect`]: crate::api::GossipApi::connect
    #[cfg_attr(docsrs, doc(cfg(feature = "rpc")))]
    pub async fn listen(self, endpoint: noq::Endpoint) {
        let Ok(runtime) = Handle::try_current() else {
            error!("cannot listen outside a tokio runtime");
            return;
        };
        let mut clients = JoinSet::new();
        while let Some(incoming) = endpoint.accept().await {
            while clients.try_join_next().is_some() {}
            if clients.len() >= MAX_CLIENTS {
                self.metrics().rpc_refused.inc();
                incoming.refuse();
                continue;
            }
            let span = debug_span!("rpc", client = %incoming.remote_address());
            let client = serve_client(self.clone(), incoming).instrument(span);
            clients.spawn_on(client, &runtime);
        }
    }
}

/// Serves a client until it is gone.
async fn serve_client(gossip: Gossip, incoming: Incoming) {
    let connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => {
            debug!(%error, "no connection");
            return;
        }
    };
    debug!("connected");
    let mut subscriptions = JoinSet::new();
    while let Some((request, recv, send)) = next_request(&connection).await {
        while subscriptions.try_join_next().is_some() {}
        let Request::Join(join) = request;
        let span = debug_span!("subscription", topic = %join.topic_id.fmt_short());
        let subscription = serve_topic(gossip.clone(), join, recv, send);
        subscriptions.spawn(subscription.instrument(span));
    }
    // What the client has sent before it went is still done.
    while subscriptions.join_next().await.is_some() {}
    debug!("disconnected");
}

/// The next request, or `None` when the client is gone. What is no request ends the connection, as
/// the two sides do not speak the same language. A request that was given up before all of it was
/// sent, or taken back, is left out.
async fn next_request(connection: &Connection) -> Option<(Request, RecvStream, SendStream)> {
    loop {
        let error = match read_request_raw::<Request>(connection).await {
            Ok(request) => return request,
            Err(error) => error,
        };
        if connection.close_reason().is_some() {
            debug!(%error, "no more requests");
            return None;
        }
        if error.kind() == io::ErrorKind::InvalidData {
            debug!(%error, "not a request");
            // Its subscriptions would keep the connection open, and further requests would wait in
            // it without an answer.
            let code = ERROR_CODE_INVALID_POSTCARD.into();
            connection.close(code, b"what was sent is no request");
            return None;
        }
        debug!(%error, "a request was given up");
    }
}

/// The node has ended, and the client has been told all that happened before.
struct NodeStopped;

/// Serves a subscription until the client has dropped both ends of it, or the node has ended.
///
/// A node that is about to end takes no commands any more, and still has events: these decide on the end.
async fn serve_topic(gossip: Gossip, join: JoinRequest, recv: RecvStream, send: SendStream) {
    let JoinRequest {
        topic_id,
        bootstrap,
    } = join;
    let bootstrap = bootstrap.into_iter().collect();
    let Ok(topic) = gossip.subscribe(topic_id, bootstrap).await else {
        return;
    };
    debug!("subscribed");
    let (sender, receiver) = topic.split();
    let events = forward_events(receiver, FrameWriter::new(send));
    let longest = MAX_COMMAND.max(gossip.max_message_size() + COMMAND_OVERHEAD);
    let commands = FrameReader::new(recv, longest as u64);
    // Where the node takes no more this keeps the stream while there are events: what tells the client to stop
    // would overtake them.
    let commands = async { Ok(carry_out(&gossip, sender, commands).await) };
    match future::try_zip(events, commands).await {
        Ok(_) => debug!("unsubscribed"),
        Err(NodeStopped) => debug!("the node has ended"),
    }
}

/// Hands events on, as fast as the client reads, until it wants no more.
async fn forward_events(
    mut receiver: GossipReceiver,
    mut stream: FrameWriter<Event>,
) -> Result<(), NodeStopped> {
    let mut stopped = pin!(stream.stopped());
    loop {
        let event = async { Some(receiver.next().await) };
        let unwanted = async {
            stopped.as_mut().await;
            None
        };
        let Some(mut next) = event.or(unwanted).await else {
            return Ok(());
        };
        let ended = loop {
            let Some(Ok(event)) = next else {
                break true;
            };
            if let Err(error) = stream.push(&event) {
                debug!(%error, "left out an event");
            }
            if stream.buffered() >= BATCH {
                break false;
            }
            match future::poll_once(receiver.next()).await {
                Some(event) => next = event,
                None => break false,
            }
        };
        if stream.flush().await.is_err() {
            return Ok(());
        }
        if ended {
            stream.finish().await;
            return Err(NodeStopped);
        }
    }
}

/// Does what the client asks for, until it has dropped its senders; or until the node takes no more, which leaves
/// the stream open.
async fn carry_out(
    gossip: &Gossip,
    sender: GossipSender,
    mut stream: FrameReader<Command>,
) -> Option<FrameReader<Command>> {
    loop {
        let command = match stream.next().await {
            Ok(Some(Ok(command))) => command,
            Ok(Some(Err(TooLong))) => {
                gossip.metrics().broadcast_too_large.inc();
                continue;
            }
            Ok(None) => return None,
            Err(error) => {
                debug!(%error, "no more commands");
                return None;
            }
        };
        let done = match command {
            Command::Broadcast(content) => sender.broadcast(content).await,
            Command::BroadcastNeighbors(content) => sender.broadcast_neighbors(content).await,
            Command::JoinPeers(peers) => sender.join_peers(peers).await,
        };
        match done {
            Ok(()) => {}
            Err(ApiError::TooLarge { .. }) => {
                gossip.metrics().broadcast_too_large.inc();
            }
            Err(ApiError::Closed { .. } | ApiError::Rpc { .. }) => return Some(stream),
        }
    }
}
