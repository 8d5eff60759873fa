//! Connections of the network in memory: their two ends, and what passes between them.

use std::{
    collections::BTreeMap,
    mem,
    task::{Context, Poll, Waker},
    time::Instant,
};

use ::iroh::EndpointId;
use bytes::Bytes;

use super::{
    Broken, DEFAULT_STREAMS, Net, WINDOW,
    streams::{In, Out},
};

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Dialer,
    Acceptor,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

/// What one end sends to the other.
#[derive(derive_more::Debug)]
pub(super) enum Packet {
    /// The dial arrives.
    Hello,
    /// The dialer may use the connection.
    Welcome,
    /// The acceptor may use the connection.
    Confirmed,
    Refused,
    Data {
        stream: u64,
        offset: u64,
        #[debug("{}", chunks.iter().map(Bytes::len).sum::<usize>())]
        chunks: Vec<Bytes>,
    },
    Fin {
        stream: u64,
        len: u64,
    },
    /// All of a finished stream has arrived.
    Ack {
        stream: u64,
    },
    Stop {
        stream: u64,
    },
    /// The answer to a stop.
    Reset {
        stream: u64,
    },
    /// So much may be sent on the stream in all.
    StreamCredit {
        stream: u64,
        max: u64,
    },
    /// So much may be sent on the connection in all.
    Credit {
        max: u64,
    },
    /// So many streams may be opened in all.
    Streams {
        max: u64,
    },
    Close(&'static str),
}

#[derive(Debug)]
pub(super) enum Phase {
    Handshake,
    Open,
    Gone(Broken),
}

/// A connection.
pub(super) struct Conn {
    pub(super) dialer: End,
    pub(super) acceptor: End,
    /// Nothing passes any more, in either direction.
    pub(super) lost: bool,
}

/// What one side of a connection knows of it.
pub(super) struct End {
    pub(super) node: EndpointId,
    pub(super) phase: Phase,
    /// Since when nothing can have arrived here.
    pub(super) silent_since: Option<Instant>,
    /// What was sent here while the path was cut, and will be sent again.
    pub(super) parked: Vec<Packet>,
    /// Whether anything refers to it.
    pub(super) referred: bool,
    handshake: Option<Waker>,
    closed: Vec<Waker>,

    // What we write.
    pub(super) outs: BTreeMap<u64, Out>,
    pub(super) opened: u64,
    pub(super) max_opened: u64,
    pub(super) opening: Vec<Waker>,
    pub(super) sent: u64,
    pub(super) max_sent: u64,

    // What we read.
    pub(super) ins: BTreeMap<u64, In>,
    pub(super) accepted: u64,
    pub(super) seen: u64,
    pub(super) accepting: Vec<Waker>,
    /// Streams that may be open at once.
    stream_limit: u64,
    /// Streams of the peer that have ended.
    pub(super) ended: u64,
    pub(super) read: u64,
    pub(super) credit_told: u64,
}

impl Conn {
    pub(super) fn new(dialer: EndpointId, acceptor: EndpointId) -> Self {
        Self {
            dialer: End::new(dialer),
            acceptor: End::new(acceptor),
            lost: false,
        }
    }

    pub(super) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialer => &mut self.dialer,
            Side::Acceptor => &mut self.acceptor,
        }
    }

    /// Whether either side has it open.
    pub(super) fn is_open(&self) -> bool {
        let open = |end: &End| matches!(end.phase, Phase::Open);
        open(&self.dialer) || open(&self.acceptor)
    }

    /// Whether both sides have it open.
    pub(super) fn is_whole(&self) -> bool {
        let open = |end: &End| matches!(end.phase, Phase::Open);
        open(&self.dialer) && open(&self.acceptor) && !self.lost
    }
}

impl End {
    fn new(node: EndpointId) -> Self {
        Self {
            node,
            phase: Phase::Handshake,
            silent_since: None,
            parked: Vec::new(),
            referred: false,
            handshake: None,
            closed: Vec::new(),
            outs: BTreeMap::new(),
            opened: 0,
            max_opened: DEFAULT_STREAMS,
            opening: Vec::new(),
            sent: 0,
            max_sent: WINDOW,
            ins: BTreeMap::new(),
            accepted: 0,
            seen: 0,
            accepting: Vec::new(),
            stream_limit: DEFAULT_STREAMS,
            ended: 0,
            read: 0,
            credit_told: WINDOW,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone(_))
    }

    pub(super) fn gone(&self) -> Option<Broken> {
        match &self.phase {
            Phase::Gone(reason) => Some(reason.clone()),
            Phase::Handshake | Phase::Open => None,
        }
    }
}

impl Net {
    /// One side may use the connection from now on.
    pub(super) fn end_open(&mut self, conn: u64, side: Side) {
        let Some(pair) = self.connections.get_mut(&conn) else {
            return;
        };
        let end = pair.end(side);
        let node = end.node;
        if matches!(end.phase, Phase::Handshake) {
            end.phase = Phase::Open;
            self.woken.extend(end.handshake.take());
            if let Some(limit) = self.site(node).stream_limit {
                self.set_stream_limit(conn, side, limit);
            }
        }
    }

    /// The connection is over for one side, and the other hears nothing more.
    pub(super) fn end_gone(&mut self, conn: u64, side: Side, reason: &'static str) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        if end.is_gone() {
            return;
        }
        let was_open = matches!(end.phase, Phase::Open);
        end.phase = Phase::Gone(Broken(reason.into()));
        let node = end.node;
        let mut woken = mem::take(&mut end.closed);
        woken.extend(end.handshake.take());
        woken.append(&mut end.accepting);
        woken.append(&mut end.opening);
        for out in end.outs.values_mut() {
            woken.extend(out.waker.take());
        }
        for stream in end.ins.values_mut() {
            woken.extend(stream.waker.take());
        }
        end.parked.clear();
        self.woken.append(&mut woken);
        // Nobody is there any more to send it again.
        if let Some(other) = self.end(conn, side.other()) {
            other.parked.clear();
            let peer = other.node;
            if was_open {
                let now = self.now;
                self.site(node).met.insert(peer, now);
            }
        }
        self.refresh_path(conn);
    }

    /// One side closes the connection.
    pub(super) fn close(&mut self, conn: u64, side: Side, reason: &'static str) {
        if self.end(conn, side).is_some_and(|end| !end.is_gone()) {
            self.end_gone(conn, side, reason);
            self.send(conn, side.other(), Packet::Close(reason));
        }
    }

    /// The accepting side answers a dial. Returns who dials.
    pub(super) fn begin_accept(&mut self, conn: u64) -> Option<EndpointId> {
        let peer = self.end(conn, Side::Dialer)?.node;
        self.send(conn, Side::Dialer, Packet::Welcome);
        Some(peer)
    }

    pub(super) fn set_stream_limit(&mut self, conn: u64, side: Side, limit: u64) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        end.stream_limit = limit;
        self.tell_streams(conn, side);
    }

    /// Tells the peer how many streams it may open.
    pub(super) fn tell_streams(&mut self, conn: u64, side: Side) {
        if let Some(end) = self.end(conn, side) {
            let max = end.ended + end.stream_limit;
            self.send(conn, side.other(), Packet::Streams { max });
        }
    }

    pub(super) fn poll_handshake(
        &mut self,
        conn: u64,
        side: Side,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let Some(end) = self.end(conn, side) else {
            return Poll::Ready(Err(Broken("gone".into())));
        };
        match &end.phase {
            Phase::Handshake => {
                end.handshake = Some(cx.waker().clone());
                Poll::Pending
            }
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Gone(reason) => Poll::Ready(Err(reason.clone())),
        }
    }

    pub(super) fn poll_closed(
        &mut self,
        conn: u64,
        side: Side,
        cx: &mut Context<'_>,
    ) -> Poll<Broken> {
        let Some(end) = self.end(conn, side) else {
            return Poll::Ready(Broken("gone".into()));
        };
        match end.gone() {
            Some(reason) => Poll::Ready(reason),
            None => {
                end.closed.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_open(
        &mut self,
        conn: u64,
        side: Side,
        cx: &mut Context<'_>,
    ) -> Poll<Result<u64, Broken>> {
        let Some(end) = self.end(conn, side) else {
            return Poll::Ready(Err(Broken("gone".into())));
        };
        if let Some(reason) = end.gone() {
            return Poll::Ready(Err(reason));
        }
        if end.opened >= end.max_opened {
            end.opening.push(cx.waker().clone());
            return Poll::Pending;
        }
        let stream = end.opened;
        end.opened += 1;
        end.outs.insert(stream, Out::new());
        Poll::Ready(Ok(stream))
    }

    pub(super) fn poll_accept_stream(
        &mut self,
        conn: u64,
        side: Side,
        cx: &mut Context<'_>,
    ) -> Poll<Result<u64, Broken>> {
        let Some(end) = self.end(conn, side) else {
            return Poll::Ready(Err(Broken("gone".into())));
        };
        if end.accepted < end.seen {
            end.accepted += 1;
            return Poll::Ready(Ok(end.accepted - 1));
        }
        if let Some(reason) = end.gone() {
            return Poll::Ready(Err(reason));
        }
        end.accepting.push(cx.waker().clone());
        Poll::Pending
    }
}

impl Net {
    /// Forgets a connection that nobody refers to.
    pub(super) fn unrefer(&mut self, conn: u64, side: Side) {
        if let Some(pair) = self.connections.get_mut(&conn) {
            pair.end(side).referred = false;
            if !pair.end(side.other()).referred {
                self.connections.remove(&conn);
            }
        }
    }
}
