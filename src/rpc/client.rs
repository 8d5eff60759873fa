//! The client: every subscription is a task that carries its mailbox over a stream.

use std::{
    future::poll_fn,
    net::SocketAddr,
    task::{Context, Poll, Waker},
};

use async_channel::Sender;
use futures_lite::future;
use irpc::{
    Client, RequestError,
    rpc::{MAX_MESSAGE_SIZE, RemoteSender},
};
use n0_error::{anyerr, e};
use noq::{RecvStream, SendStream};
use tokio::runtime::Handle;
use tracing::{Instrument, debug, debug_span};

use super::{
    BATCH, COMMAND_OVERHEAD, JoinRequest, Request,
    frames::{FrameReader, FrameWriter, TooLong},
};
use crate::api::{
    ApiError, Command, Event, GossipApi, Published,
    events::{EventSender, Pushed},
    mailbox::{Inbox, Order, Work},
    remote::{BoxFuture, Remote},
};

/// The most peers of one command: a node does not take commands of any length.
const JOIN_PEERS: usize = 1024;

impl GossipApi {
    /// Subscribes to topics of a node in another process, which listens at `addr`.
    ///
    /// The connection is made when the first topic is subscribed to, and again when it was lost.
    /// The other side is a node of ours behind `Gossip::listen`, or one of `iroh_gossip`; its
    /// certificate is for the name `localhost`.
    ///
    /// The connection lives in the tokio runtime that this is called in. Outside of one, each topic has
    /// to be subscribed to within a runtime, or that is an error. The handles work on any executor, as
    /// all handles do.
    ///
    /// A connection on which nothing happens for 30 seconds counts as lost, unless the endpoint is
    /// configured to keep it alive; [`make_client_endpoint`](irpc::util::make_client_endpoint) does.
    ///
    /// # Differences to a node in this process
    ///
    /// The wire has no answers to what is sent. [`broadcast`](crate::api::GossipSender::broadcast)
    /// is `Ok` when the message is on its way to the node, which drops and counts what is too
    /// large; [`publish`](crate::api::GossipSender::publish) answers [`Published::HandedOver`].
    ///
    /// ```no_run
    /// use smol_gossip::{TopicId, api::{ApiError, GossipApi}};
    ///
    /// # async fn speak(cert: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
    /// let bind = "127.0.0.1:0".parse()?;
    /// // Trusts the certificate of the daemon and no other.
    /// let endpoint = irpc::util::make_client_endpoint(bind, &[&cert])?;
    /// let gossip = GossipApi::connect(endpoint, "127.0.0.1:4433".parse()?);
    /// let mut topic = gossip.subscribe_and_join(TopicId::from_bytes([7; 32]), vec![]).await?;
    /// topic.broadcast("hello".into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "rpc")))]
    pub fn connect(endpoint: noq::Endpoint, addr: SocketAddr) -> Self {
        Self::remote(Daemon {
            client: Client::noq(endpoint, addr),
            runtime: Handle::try_current().ok(),
        })
    }
}

/// A node in another process.
#[derive(Debug)]
struct Daemon {
    client: Client<Request>,
    /// Where the connection lives.
    runtime: Option<Handle>,
}

impl Remote for Daemon {
    fn max_content(&self) -> usize {
        MAX_MESSAGE_SIZE as usize - COMMAND_OVERHEAD
    }

    fn open(&self, mut inbox: Inbox) -> BoxFuture<Result<(), ApiError>> {
        let runtime = self.runtime.clone().ok_or(());
        let Ok(runtime) = runtime.or_else(|()| Handle::try_current()) else {
            let reason = anyerr!("no tokio runtime for the connection: subscribe in one");
            let error = irpc::Error::from(RequestError::from(reason));
            return Box::pin(async { Err(error.into()) });
        };
        // Taken here, while its handles certainly live.
        let mut unwoken = Context::from_waker(Waker::noop());
        let Poll::Ready(Work::Subscribe {
            topic,
            bootstrap,
            events,
            ..
        }) = inbox.poll_work(&mut unwoken)
        else {
            return Box::pin(async { Err(closed()) });
        };
        let request = JoinRequest {
            topic_id: topic,
            bootstrap: bootstrap.into_iter().collect(),
        };
        let (opened, answer) = async_channel::bounded(1);
        let span = debug_span!("rpc", topic = %topic.fmt_short());
        let client = self.client.clone();
        runtime.spawn(carry(client, request, inbox, events, opened).instrument(span));
        // The task is gone without an answer only if its runtime is.
        Box::pin(async move { answer.recv().await.map_err(|_| closed())? })
    }
}

fn closed() -> ApiError {
    e!(ApiError::Closed)
}

/// Carries a subscription from its beginning to its end.
async fn carry(
    client: Client<Request>,
    request: JoinRequest,
    mut inbox: Inbox,
    events: EventSender,
    opened: Sender<Result<(), ApiError>>,
) {
    let opening = async { Some(open(client, request).await) };
    let given_up = async {
        // There is nobody yet who could ask for anything else.
        poll_fn(|cx| inbox.poll_work(cx)).await;
        None
    };
    let (send, recv) = match future::or(opening, given_up).await {
        Some(Ok(streams)) => streams,
        Some(Err(error)) => {
            debug!(%error, "cannot subscribe");
            // Whoever asked may not wait any more.
            let _ = opened.try_send(Err(error.into()));
            return;
        }
        None => return,
    };
    // Whoever asked may not wait any more; then there is nothing but the end in the inbox.
    let _ = opened.try_send(Ok(()));
    drop(opened);
    debug!("subscribed");
    let mut commands = FrameWriter::new(send);
    let receiving = receive(FrameReader::new(recv, MAX_MESSAGE_SIZE), events);
    match future::try_zip(receiving, send_orders(&mut inbox, &mut commands)).await {
        Ok(_) => debug!("the subscription ended on the other side"),
        Err(End::Released) => {
            // What was accepted arrives, even if this is the last use of the connection.
            commands.finish().await;
            debug!("unsubscribed");
        }
        Err(End::Lost) => debug!("the connection was lost"),
    }
}

async fn open(
    client: Client<Request>,
    request: JoinRequest,
) -> Result<(SendStream, RecvStream), irpc::Error> {
    match client.request().await? {
        irpc::Request::Remote(sender) => Ok(RemoteSender::<Request>::write(sender, request).await?),
        irpc::Request::Local(_) => Err(RequestError::from(anyerr!("not remote")).into()),
    }
}

/// Why a subscription is over.
enum End {
    /// All its handles are gone.
    Released,
    /// The connection is.
    Lost,
}

/// Takes events in until the node has ended, or nobody wants any.
async fn receive(mut stream: FrameReader<Event>, events: EventSender) -> Result<(), End> {
    loop {
        match stream.next().await {
            Ok(Some(Err(TooLong))) => {}
            Ok(Some(Ok(event))) => {
                // Without a receiver there is no use for events. Senders go on while they can.
                if events.push(event) == Pushed::Unwanted {
                    return Ok(());
                }
                events.wake();
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                debug!(%error, "lost");
                events.fail(error.into());
                return Err(End::Lost);
            }
        }
    }
}

/// Sends out what the handles ask for, until they are gone. If the other side takes no more, senders get an error;
/// what has happened before is still on its way then.
async fn send_orders(inbox: &mut Inbox, stream: &mut FrameWriter<Command>) -> Result<(), End> {
    let mut stopped = Box::pin(stream.stopped());
    let mut replies = Vec::new();
    loop {
        let lost = async {
            stopped.as_mut().await;
            Err(())
        };
        let work = poll_fn(|cx| inbox.poll_work(cx));
        let Ok(mut next) = future::or(async { Ok(Some(work.await)) }, lost).await else {
            break;
        };
        let mut released = false;
        while let Some(work) = next {
            match work {
                Work::Command(_, order) => {
                    let (commands, reply) = commands(order);
                    for command in commands {
                        if stream.push(&command).is_err() {
                            debug!("left out a command that is too large");
                        }
                    }
                    replies.extend(reply);
                }
                Work::Unsubscribe(_) | Work::Stop => released = true,
                Work::Subscribe { .. } => {}
            }
            next = match stream.buffered() {
                ..BATCH => ready(inbox),
                _ => None,
            };
        }
        if stream.flush().await.is_err() {
            break;
        }
        for reply in replies.drain(..) {
            let reply: Sender<Published> = reply;
            // Whoever asked may not wait any more.
            let _ = reply.try_send(Published::HandedOver);
        }
        if released {
            return Err(End::Released);
        }
        // However much there is to send, what comes in has its turn.
        future::yield_now().await;
    }
    inbox.refuse();
    // Whoever waits for an answer gets none.
    while ready(inbox).is_some() {}
    Ok(())
}

/// What there is to do right now.
fn ready(inbox: &mut Inbox) -> Option<Work> {
    let mut unwoken = Context::from_waker(Waker::noop());
    match inbox.poll_work(&mut unwoken) {
        Poll::Ready(work) => Some(work),
        Poll::Pending => None,
    }
}

/// What is sent for an order, and who waits until it is.
fn commands(order: Order) -> (Vec<Command>, Option<Sender<Published>>) {
    let (command, reply) = match order {
        Order::Broadcast(payload) => (Command::Broadcast(payload.into_content()), None),
        Order::BroadcastNeighbors(payload) => {
            (Command::BroadcastNeighbors(payload.into_content()), None)
        }
        Order::Publish(payload, reply) => (Command::Broadcast(payload.into_content()), Some(reply)),
        Order::JoinPeers(peers) => {
            let some = peers.chunks(JOIN_PEERS).map(<[_]>::to_vec);
            return (some.map(Command::JoinPeers).collect(), None);
        }
    };
    (vec![command], reply)
}

#[cfg(test)]
mod tests {
    use iroh_base::SecretKey;

    use super::{super::MAX_COMMAND, *};

    #[test]
    fn no_command_names_more_peers_than_a_node_takes() {
        let peers: Vec<_> = (0..2500u32)
            .map(|n| {
                let mut seed = [0; 32];
                seed[..4].copy_from_slice(&n.to_be_bytes());
                SecretKey::from_bytes(&seed).public()
            })
            .collect();
        let (commands, reply) = commands(Order::JoinPeers(peers.clone()));
        assert!(reply.is_none());
        let mut named = Vec::new();
        for command in &commands {
            let size = postcard::experimental::serialized_size(command).expect("a command");
            assert!(size <= MAX_COMMAND, "{size}");
            let Command::JoinPeers(peers) = command else {
                panic!("{command:?}");
            };
            assert!(peers.len() <= JOIN_PEERS);
            named.extend_from_slice(peers);
        }
        assert_eq!(named, peers);
        assert!(commands.len() > 1);
    }
}
