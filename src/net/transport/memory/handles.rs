//! What the driver holds of the network in memory: handshakes, connections, streams.
//!
//! As with iroh, a connection is closed when the last of them is dropped.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::iroh::EndpointId;
use bytes::Bytes;

use super::{Broken, MemoryNetwork, Net, connection::Side};
use crate::net::transport::{Connection, RecvStream, SendStream};

/// Closes the connection when the last that refers to it is dropped.
pub(super) struct Guard {
    pub(super) network: MemoryNetwork,
    pub(super) conn: u64,
    pub(super) side: Side,
    peer: EndpointId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (conn, side) = (self.conn, self.side);
        self.network.with(|net| {
            net.close(conn, side, "dropped");
            net.unrefer(conn, side);
        });
    }
}

/// A handshake under way.
pub(super) struct Dialing {
    guard: Option<Arc<Guard>>,
}

impl Dialing {
    pub(super) fn new(network: MemoryNetwork, conn: u64, side: Side, peer: EndpointId) -> Self {
        network.with(|net| {
            if let Some(end) = net.end(conn, side) {
                end.referred = true;
            }
        });
        let guard = Arc::new(Guard {
            network,
            conn,
            side,
            peer,
        });
        Self { guard: Some(guard) }
    }
}

impl Future for Dialing {
    type Output = Result<MemoryConnection, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(guard) = &self.guard else {
            return Poll::Pending;
        };
        let (conn, side) = (guard.conn, guard.side);
        let poll = guard.network.with(|net| net.poll_handshake(conn, side, cx));
        match poll {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(reason)) => Poll::Ready(Err(reason)),
            Poll::Ready(Ok(())) => match self.guard.take() {
                Some(guard) => Poll::Ready(Ok(MemoryConnection { guard })),
                None => Poll::Pending,
            },
        }
    }
}

/// One side of a connection.
#[derive(Clone)]
pub(crate) struct MemoryConnection {
    guard: Arc<Guard>,
}

impl MemoryConnection {
    fn with<T>(&self, act: impl FnOnce(&mut Net, u64, Side) -> T) -> T {
        let Guard { conn, side, .. } = *self.guard;
        self.guard.network.with(|net| act(net, conn, side))
    }
}

impl Connection for MemoryConnection {
    type Send = MemorySendStream;
    type Recv = MemoryRecvStream;

    fn remote_id(&self) -> EndpointId {
        self.guard.peer
    }

    fn allow_streams(&self, count: u32) {
        self.with(|net, conn, side| {
            let node = net.end(conn, side).map(|end| end.node);
            let pinned = node.and_then(|node| net.site(node).stream_limit);
            if pinned.is_none() {
                net.set_stream_limit(conn, side, count.into());
            }
        });
    }

    fn open_stream(&self) -> impl Future<Output = Result<Self::Send, Broken>> + Send + 'static {
        let this = self.clone();
        poll_fn(move |cx| {
            let open = this.with(|net, conn, side| net.poll_open(conn, side, cx));
            open.map_ok(|stream| MemorySendStream::new(this.guard.clone(), stream))
        })
    }

    fn accept_stream(&self) -> impl Future<Output = Result<Self::Recv, Broken>> + Send + 'static {
        let this = self.clone();
        poll_fn(move |cx| {
            let accept = this.with(|net, conn, side| net.poll_accept_stream(conn, side, cx));
            accept.map_ok(|stream| MemoryRecvStream::new(this.guard.clone(), stream))
        })
    }

    fn closed(&self) -> impl Future<Output = Broken> + Send + 'static {
        let this = self.clone();
        poll_fn(move |cx| this.with(|net, conn, side| net.poll_closed(conn, side, cx)))
    }

    fn close(&self, reason: &'static str) {
        self.with(|net, conn, side| net.close(conn, side, reason));
    }
}

/// See [`SendStream`].
pub(crate) struct MemorySendStream {
    guard: Arc<Guard>,
    stream: u64,
}

/// See [`RecvStream`].
pub(crate) struct MemoryRecvStream {
    guard: Arc<Guard>,
    stream: u64,
}

impl MemorySendStream {
    pub(super) fn new(guard: Arc<Guard>, stream: u64) -> Self {
        Self { guard, stream }
    }
}

impl MemoryRecvStream {
    pub(super) fn new(guard: Arc<Guard>, stream: u64) -> Self {
        Self { guard, stream }
    }
}

fn with<T>(guard: &Guard, act: impl FnOnce(&mut Net, u64, Side) -> T) -> T {
    guard.network.with(|net| act(net, guard.conn, guard.side))
}

impl SendStream for MemorySendStream {
    async fn write_all(&mut self, chunks: &mut [Bytes]) -> Result<(), Broken> {
        let stream = self.stream;
        poll_fn(|cx| {
            with(&self.guard, |net, conn, side| {
                net.poll_write(conn, side, stream, chunks, cx)
            })
        })
        .await
    }

    async fn finish(self) -> Result<(), Broken> {
        let stream = self.stream;
        with(&self.guard, |net, conn, side| {
            net.finish(conn, side, stream);
        });
        poll_fn(|cx| {
            with(&self.guard, |net, conn, side| {
                net.poll_finished(conn, side, stream, cx)
            })
        })
        .await
    }
}

impl RecvStream for MemoryRecvStream {
    async fn read(&mut self, chunks: &mut [Bytes]) -> Result<usize, Broken> {
        let stream = self.stream;
        poll_fn(|cx| {
            with(&self.guard, |net, conn, side| {
                net.poll_read(conn, side, stream, chunks, cx)
            })
        })
        .await
    }

    fn stop(&mut self) {
        let stream = self.stream;
        with(&self.guard, |net, conn, side| {
            net.stop_reading(conn, side, stream);
        });
    }
}

impl Drop for MemorySendStream {
    fn drop(&mut self) {
        let stream = self.stream;
        with(&self.guard, |net, conn, side| {
            net.drop_out(conn, side, stream);
        });
    }
}

impl Drop for MemoryRecvStream {
    fn drop(&mut self) {
        let stream = self.stream;
        with(&self.guard, |net, conn, side| {
            net.drop_in(conn, side, stream);
        });
    }
}
