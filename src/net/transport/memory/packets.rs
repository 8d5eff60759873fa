//! What happens when a packet arrives, or cannot.

use std::{mem, time::Duration};

use ::iroh::EndpointId;
use rand::RngExt;

use super::{
    Event, Net, PATH_TIMEOUT, RETRANSMISSION,
    connection::{Packet, Side},
};

/// How long a dialer waits before it says hello again.
const HELLO_AGAIN: Duration = Duration::from_secs(1);

impl Net {
    pub(super) fn arrive(&mut self, conn: u64, to: Side, packet: Packet) {
        let Some(pair) = self.connections.get_mut(&conn) else {
            return;
        };
        if pair.lost || pair.end(to).is_gone() {
            return;
        }
        let (from_node, to_node) = (pair.end(to.other()).node, pair.end(to).node);
        let sender_gone = pair.end(to.other()).is_gone();
        let reachable = self.faults.reaches(from_node, to_node) && self.site(to_node).up;
        if !reachable {
            match packet {
                Packet::Hello if !sender_gone => {
                    let at = self.now + HELLO_AGAIN;
                    self.schedule(at, Event::Packet { conn, to, packet });
                }
                // What nobody will send again.
                Packet::Hello | Packet::Refused | Packet::Close(_) => {}
                packet => {
                    if !sender_gone && let Some(end) = self.end(conn, to) {
                        end.parked.push(packet);
                    }
                }
            }
            return;
        }
        match packet {
            Packet::Hello => {
                let site = self.site(to_node);
                site.incoming.push_back(conn);
                let woken = site.accepting.take();
                self.woken.extend(woken);
            }
            Packet::Welcome => {
                self.end_open(conn, to);
                self.send(conn, to.other(), Packet::Confirmed);
            }
            Packet::Confirmed => self.end_open(conn, to),
            Packet::Refused => self.end_gone(conn, to, "refused"),
            Packet::Close(reason) => self.end_gone(conn, to, reason),
            Packet::Data {
                stream,
                offset,
                chunks,
            } => self.data_arrives(conn, to, stream, offset, chunks),
            Packet::Fin { stream, len } => self.fin_arrives(conn, to, stream, len),
            Packet::Reset { stream } => self.reset_arrives(conn, to, stream),
            Packet::Ack { stream } => self.out_changes(conn, to, stream, |out| out.acked = true),
            Packet::Stop { stream } => self.stop_arrives(conn, to, stream),
            Packet::StreamCredit { stream, max } => {
                self.out_changes(conn, to, stream, |out| out.max = out.max.max(max));
            }
            Packet::Credit { max } => {
                if let Some(end) = self.end(conn, to) {
                    end.max_sent = end.max_sent.max(max);
                    let mut woken = Vec::new();
                    for out in end.outs.values_mut() {
                        woken.extend(out.waker.take());
                    }
                    self.woken.append(&mut woken);
                }
            }
            Packet::Streams { max } => {
                if let Some(end) = self.end(conn, to) {
                    end.max_opened = end.max_opened.max(max);
                    let woken = mem::take(&mut end.opening);
                    self.woken.extend(woken);
                }
            }
        }
    }

    fn out_changes(
        &mut self,
        conn: u64,
        side: Side,
        stream: u64,
        change: impl FnOnce(&mut super::streams::Out),
    ) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        let Some(out) = end.outs.get_mut(&stream) else {
            return;
        };
        change(out);
        let woken = out.waker.take();
        if out.dropped && out.acked {
            end.outs.remove(&stream);
        }
        self.woken.extend(woken);
    }

    fn stop_arrives(&mut self, conn: u64, side: Side, stream: u64) {
        let Some(end) = self.end(conn, side) else {
            return;
        };
        // Too late for a stream that has arrived whole.
        if end.outs.get(&stream).is_some_and(|out| !out.acked) {
            self.out_changes(conn, side, stream, |out| out.stopped = true);
            self.send(conn, side.other(), Packet::Reset { stream });
        }
    }

    /// Looks at whether the ends of a connection can hear each other.
    pub(super) fn refresh_path(&mut self, conn: u64) {
        for side in [Side::Dialer, Side::Acceptor] {
            let now = self.now;
            let Some(pair) = self.connections.get_mut(&conn) else {
                return;
            };
            let (from, lost) = (pair.end(side.other()).node, pair.lost);
            let sender_gone = pair.end(side.other()).is_gone();
            let end = pair.end(side);
            if end.is_gone() {
                continue;
            }
            let hears = !lost && !sender_gone && self.faults.reaches(from, end.node);
            if hears {
                end.silent_since = None;
                // Also on a connection that is younger than the cut.
                let parked = mem::take(&mut end.parked);
                if !parked.is_empty() {
                    self.send_again(conn, side, parked);
                }
            } else if end.silent_since.is_none() {
                end.silent_since = Some(now);
                let timeout = Event::PathTimeout { conn, at: side };
                self.schedule(now + PATH_TIMEOUT, timeout);
            }
        }
    }

    fn send_again(&mut self, conn: u64, to: Side, packets: Vec<Packet>) {
        let wait = self.rng.random_range(Duration::ZERO..RETRANSMISSION);
        let at = self.now + wait + self.draw_latency();
        for packet in packets {
            self.schedule(at, Event::Packet { conn, to, packet });
        }
    }

    pub(super) fn refresh_all_paths(&mut self) {
        let all: Vec<u64> = self.connections.keys().copied().collect();
        for conn in all {
            self.refresh_path(conn);
        }
    }

    /// A node reads again.
    pub(super) fn wake_readers(&mut self, id: EndpointId) {
        for pair in self.connections.values_mut() {
            for side in [Side::Dialer, Side::Acceptor] {
                let end = pair.end(side);
                if end.node.as_bytes() == id.as_bytes() {
                    let streams = end.ins.values_mut();
                    self.woken
                        .extend(streams.filter_map(|stream| stream.waker.take()));
                }
            }
        }
    }

    pub(super) fn is_healthy(&self, a: EndpointId, b: EndpointId) -> bool {
        let reads = |id| self.sites.get(id).is_some_and(|site| site.reads(self.now));
        let between = |pair: &&super::Conn| {
            let nodes = (pair.dialer.node.as_bytes(), pair.acceptor.node.as_bytes());
            nodes == (a.as_bytes(), b.as_bytes()) || nodes == (b.as_bytes(), a.as_bytes())
        };
        let mut connections = self
            .connections
            .values()
            .filter(between)
            .filter(|pair| pair.is_open())
            .peekable();
        connections.peek().is_some()
            && connections.all(super::Conn::is_whole)
            && self.faults.reaches(a, b)
            && self.faults.reaches(b, a)
            && [&a, &b].into_iter().all(reads)
    }
}
