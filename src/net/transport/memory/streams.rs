//! Streams of the network in memory: flow control, reassembly, and how they end.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use rand::RngExt;

use super::{
    Broken, Event, Net, WINDOW,
    connection::{Packet, Side},
};

/// How much of a window is read before the writer is told.
const CREDIT_STEP: u64 = WINDOW / 8;

/// One data packet in so many is cut in two at a random place.
const CUT_ONE_IN: u32 = 4;

/// A stream, as its writer knows it.
pub(super) struct Out {
    sent: u64,
    pub(super) max: u64,
    finished: bool,
    pub(super) acked: bool,
    pub(super) stopped: bool,
    pub(super) dropped: bool,
    pub(super) waker: Option<Waker>,
}

/// A stream, as its reader knows it.
#[derive(Default)]
pub(super) struct In {
    buffer: VecDeque<Bytes>,
    /// What has overtaken something else.
    early: BTreeMap<u64, Vec<Bytes>>,
    arrived: u64,
    /// Its length, once that is known.
    len: Option<u64>,
    read: u64,
    credit_told: u64,
    stopped: bool,
    reset: bool,
    ended: bool,
    dropped: bool,
    pub(super) waker: Option<Waker>,
}

impl Out {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            max: WINDOW,
            finished: false,
            acked: false,
            stopped: false,
            dropped: false,
            waker: None,
        }
    }
}

impl In {
    pub(super) fn new() -> Self {
        Self {
            credit_told: WINDOW,
            ..Self::default()
        }
    }

    fn is_whole(&self) -> bool {
        self.len == Some(self.arrived)
    }

    /// How many chunks are read at once, at a rate by the second: no more than come in a second,
    /// but one at least.
    fn within(&self, rate: Option<u32>) -> usize {
        let Some(rate) = rate else {
            return usize::MAX;
        };
        let mut left = u64::from(rate);
        let fits = |chunk: &&Bytes| {
            let rest = left.checked_sub(chunk.len() as u64);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        self.buffer.iter().take_while(fits).count().max(1)
    }
}

fn len_of(chunks: &[Bytes]) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

/// Takes the first `len` bytes off the chunks.
fn split_off_front(chunks: &mut [Bytes], len: u64) -> Vec<Bytes> {
    let mut left = usize::try_from(len).unwrap_or(usize::MAX);
    let mut taken = Vec::new();
    for chunk in chunks {
        let part = chunk.split_to(chunk.len().min(left));
        left -= part.len();
        if part.has_remaining() {
            taken.push(part);
        }
    }
    taken
}

impl Net {
    /// Writes as much as there is credit for. Ready once nothing is left.
    pub(super) fn poll_write(
        &mut self,
        conn: u64,
        side: Side,
        stream: u64,
        chunks: &mut [Bytes],
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let broken = |why: &str| Poll::Ready(Err(Broken(why.into())));
        let Some(end) = self.end(conn, side) else {
            return broken("gone");
        };
        if let Some(reason) = end.gone() {
            return Poll::Ready(Err(reason));
        }
        let of_connection = end.max_sent - end.sent;
        let Some(out) = end.outs.get_mut(&stream) else {
            return broken("no such stream");
        };
        if out.stopped {
            return broken("the peer stopped the stream");
        }
        let wanted = len_of(chunks);
        let len = wanted.min(of_connection).min(out.max - out.sent);
        let offset = out.sent;
        out.sent += len;
        if len < wanted {
            out.waker = Some(cx.waker().clone());
        }
        end.sent += len;
        let mut taken = split_off_front(chunks, len);
        if len > 1 && self.rng.random_ratio(1, CUT_ONE_IN) {
            let cut = self.rng.random_range(1..len);
            let first = split_off_front(&mut taken, cut);
            self.send_data(conn, side, stream, offset, first);
            self.send_data(conn, side, stream, offset + cut, taken);
        } else if len > 0 {
            self.send_data(conn, side, stream, offset, taken);
        }
        if len < wanted {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn send_data(&mut self, conn: u64, side: Side, stream: u64, offset: u64, chunks: Vec<Bytes>) {
        let chunks = chunks.into_iter().filter(Bytes::has_remaining).collect();
        let data = Packet::Data {
            stream,
            offset,
            chunks,
        };
        self.send(conn, side.other(), data);
    }

    pub(super) fn finish(&mut self, conn: u64, side: Side, stream: u64) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        if end.is_gone() {
            return;
        }
        if let Some(out) = end.outs.get_mut(&stream)
            && !out.stopped
            && !mem::replace(&mut out.finished, true)
        {
            let len = out.sent;
            self.send(conn, side.other(), Packet::Fin { stream, len });
        }
    }

    pub(super) fn poll_finished(
        &mut self,
        conn: u64,
        side: Side,
        stream: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let Some(end) = self.end(conn, side) else {
            return Poll::Ready(Err(Broken("gone".into())));
        };
        let gone = end.gone();
        let Some(out) = end.outs.get_mut(&stream) else {
            return Poll::Ready(Err(Broken("no such stream".into())));
        };
        if out.acked {
            return Poll::Ready(Ok(()));
        }
        if out.stopped {
            return Poll::Ready(Err(Broken("the peer stopped the stream".into())));
        }
        if let Some(reason) = gone {
            return Poll::Ready(Err(reason));
        }
        out.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn drop_out(&mut self, conn: u64, side: Side, stream: u64) {
        self.finish(conn, side, stream);
        if let Some(end) = self.end(conn, side)
            && let Some(out) = end.outs.get_mut(&stream)
        {
            out.dropped = true;
            if out.acked || out.stopped {
                end.outs.remove(&stream);
            }
        }
    }

    pub(super) fn poll_read(
        &mut self,
        conn: u64,
        side: Side,
        stream: u64,
        chunks: &mut [Bytes],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>> {
        let Some(end) = self.end(conn, side) else {
            return Poll::Ready(Err(Broken("gone".into())));
        };
        let (node, gone) = (end.node, end.gone());
        let site = self.sites.entry(node).or_default();
        let closed_gate = !site.reads(self.now);
        let rate = site.read_rate;
        let Some(end) = self.end(conn, side) else {
            return Poll::Ready(Err(Broken("gone".into())));
        };
        let Some(input) = end.ins.get_mut(&stream) else {
            return Poll::Ready(Err(Broken("no such stream".into())));
        };
        if input.reset || input.stopped {
            return Poll::Ready(Err(Broken("the stream was reset".into())));
        }
        if closed_gate && gone.is_none() {
            input.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let at_once = chunks.len().min(input.within(rate));
        let count = input.buffer.len().min(at_once);
        for (chunk, read) in chunks.iter_mut().zip(input.buffer.drain(..count)) {
            *chunk = read;
        }
        let len = len_of(&chunks[..count]);
        if count == 0 {
            if input.is_whole() {
                self.in_ended(conn, side, stream);
                return Poll::Ready(Ok(0));
            }
            if let Some(reason) = gone {
                return Poll::Ready(Err(reason));
            }
            input.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        input.read += len;
        if input.read + WINDOW >= input.credit_told + CREDIT_STEP {
            input.credit_told = input.read + WINDOW;
            let max = input.credit_told;
            self.send(conn, side.other(), Packet::StreamCredit { stream, max });
        }
        self.was_read(conn, side, len);
        if let Some(rate) = rate {
            let pause = Duration::from_secs(len) / rate.max(1);
            let until = self.now + pause;
            self.site(node).paced_until = Some(until);
            self.schedule(until, Event::Readable(node));
        }
        Poll::Ready(Ok(count))
    }

    /// Gives credit of the connection back.
    fn was_read(&mut self, conn: u64, side: Side, len: u64) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        end.read += len;
        if end.read + WINDOW >= end.credit_told + CREDIT_STEP {
            end.credit_told = end.read + WINDOW;
            let max = end.credit_told;
            self.send(conn, side.other(), Packet::Credit { max });
        }
    }

    /// A stream has ended for its reader: the writer may open another one.
    fn in_ended(&mut self, conn: u64, side: Side, stream: u64) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        let Some(input) = end.ins.get_mut(&stream) else {
            return;
        };
        let before = mem::replace(&mut input.ended, true);
        if input.dropped {
            end.ins.remove(&stream);
        }
        if !before {
            end.ended += 1;
            self.tell_streams(conn, side);
        }
    }

    pub(super) fn stop_reading(&mut self, conn: u64, side: Side, stream: u64) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        let gone = end.is_gone();
        let Some(input) = end.ins.get_mut(&stream) else {
            return;
        };
        if input.ended || mem::replace(&mut input.stopped, true) {
            return;
        }
        let unread = input.buffer.drain(..).map(|chunk| chunk.len() as u64).sum();
        if gone {
            return;
        }
        let over = input.is_whole() || input.reset;
        self.was_read(conn, side, unread);
        self.send(conn, side.other(), Packet::Stop { stream });
        if over {
            self.in_ended(conn, side, stream);
        }
    }

    pub(super) fn drop_in(&mut self, conn: u64, side: Side, stream: u64) {
        self.stop_reading(conn, side, stream);
        if let Some(end) = self.end(conn, side)
            && let Some(input) = end.ins.get_mut(&stream)
        {
            input.dropped = true;
            if input.ended {
                end.ins.remove(&stream);
            }
        }
    }

    pub(super) fn data_arrives(
        &mut self,
        conn: u64,
        side: Side,
        stream: u64,
        offset: u64,
        chunks: Vec<Bytes>,
    ) {
        self.see_stream(conn, side, stream);
        let Some(input) = self
            .end(conn, side)
            .and_then(|end| end.ins.get_mut(&stream))
        else {
            return;
        };
        input.early.insert(offset, chunks);
        let mut unwanted = 0;
        while let Some(chunks) = input.early.remove(&input.arrived) {
            let len = len_of(&chunks);
            input.arrived += len;
            if input.stopped {
                unwanted += len;
            } else {
                input.buffer.extend(chunks);
            }
        }
        let woken = input.waker.take();
        self.woken.extend(woken);
        self.was_read(conn, side, unwanted);
        self.whole_perhaps(conn, side, stream);
    }

    pub(super) fn fin_arrives(&mut self, conn: u64, side: Side, stream: u64, len: u64) {
        self.see_stream(conn, side, stream);
        if let Some(end) = self.end(conn, side)
            && let Some(input) = end.ins.get_mut(&stream)
        {
            input.len = Some(len);
            let woken = input.waker.take();
            self.woken.extend(woken);
            self.whole_perhaps(conn, side, stream);
        }
    }

    pub(super) fn reset_arrives(&mut self, conn: u64, side: Side, stream: u64) {
        if let Some(end) = self.end(conn, side)
            && let Some(input) = end.ins.get_mut(&stream)
        {
            input.reset = true;
            let woken = input.waker.take();
            self.woken.extend(woken);
            self.in_ended(conn, side, stream);
        }
    }

    fn whole_perhaps(&mut self, conn: u64, side: Side, stream: u64) {
        let Some(input) = self
            .end(conn, side)
            .and_then(|end| end.ins.get_mut(&stream))
        else {
            return;
        };
        if input.is_whole() {
            let stopped = input.stopped;
            let wait = if self.ack_delay.is_zero() {
                Duration::ZERO
            } else {
                self.rng.random_range(Duration::ZERO..self.ack_delay)
            };
            self.send_later(wait, conn, side.other(), Packet::Ack { stream });
            if stopped {
                self.in_ended(conn, side, stream);
            }
        }
    }

    /// A stream appears, and with it all that were opened before.
    fn see_stream(&mut self, conn: u64, side: Side, stream: u64) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        while end.seen <= stream {
            end.ins.insert(end.seen, In::new());
            end.seen += 1;
        }
        let woken = mem::take(&mut end.accepting);
        self.woken.extend(woken);
    }
}
