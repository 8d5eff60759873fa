//! What can go wrong in the network in memory, on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use ::iroh::EndpointId;

use super::{Event, MemoryNetwork, Net, connection::Side};

/// What becomes of dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialFault {
    /// They fail at once.
    Impossible,
    /// They fail when the peer has answered.
    Refused,
    /// Nothing ever comes of them.
    Hangs,
}

/// The faults in force.
#[derive(Default)]
pub(super) struct Faults {
    /// Nodes of different islands do not reach each other. Who is not listed is on island 0.
    islands: BTreeMap<EndpointId, u32>,
    /// From whom whom nothing reaches.
    cut: BTreeSet<(EndpointId, EndpointId)>,
    /// Nothing reaches the others from these.
    muffled: BTreeSet<EndpointId>,
    /// Whose machines are suspended.
    asleep: BTreeSet<EndpointId>,
    dials_to: BTreeMap<EndpointId, DialFault>,
    far: BTreeMap<EndpointId, Duration>,
}

impl Faults {
    pub(super) fn reaches(&self, from: EndpointId, to: EndpointId) -> bool {
        let island = |id| self.islands.get(&id).copied().unwrap_or(0);
        let muffled = |id| self.muffled.contains(&id);
        let asleep = |id| self.asleep.contains(&id);
        island(from) == island(to)
            && !self.cut.contains(&(from, to))
            && (!muffled(from) || muffled(to))
            && !asleep(from)
            && !asleep(to)
    }

    pub(super) fn dial(&self, _from: EndpointId, to: EndpointId) -> Option<DialFault> {
        self.dials_to.get(&to).copied()
    }

    pub(super) fn extra_latency(&self, nodes: &[EndpointId]) -> Duration {
        nodes.iter().filter_map(|id| self.far.get(id)).sum()
    }
}

impl MemoryNetwork {
    /// Gives all packets that are sent from now on this latency.
    pub(crate) fn set_latency(&self, latency: Range<Duration>) {
        self.with(|net| net.latency = latency);
    }

    /// Has the ends of streams acknowledged at leisure, as QUIC does: after this time at the most.
    pub(crate) fn set_ack_delay(&self, most: Duration) {
        self.with(|net| net.ack_delay = most);
    }

    /// Adds to the latency of all packets from and to a node.
    pub(crate) fn set_far(&self, id: EndpointId, extra: Duration) {
        self.with(|net| net.faults.far.insert(id, extra));
    }

    /// Puts nodes on islands. Those of different islands do not reach each other any more.
    pub(crate) fn set_islands(&self, islands: impl IntoIterator<Item = (EndpointId, u32)>) {
        self.with(|net| {
            net.faults.islands = islands.into_iter().collect();
            net.refresh_all_paths();
        });
    }

    /// Cuts the path from one node to another, one way, or mends it.
    pub(crate) fn set_cut(&self, from: EndpointId, to: EndpointId, cut: bool) {
        self.with(|net| {
            if cut {
                net.faults.cut.insert((from, to));
            } else {
                net.faults.cut.remove(&(from, to));
            }
            net.refresh_all_paths();
        });
    }

    /// Lets nothing pass from these nodes to any others. What others send reaches them.
    pub(crate) fn set_muffled(&self, ids: impl IntoIterator<Item = EndpointId>) {
        self.with(|net| {
            net.faults.muffled = ids.into_iter().collect();
            net.refresh_all_paths();
        });
    }

    /// Has a node's machine sleep, and so its network, or wake up.
    pub(crate) fn set_asleep(&self, id: EndpointId, asleep: bool) {
        self.with(|net| {
            let changed = if asleep {
                net.faults.asleep.insert(id)
            } else {
                net.faults.asleep.remove(&id)
            };
            if changed {
                net.refresh_all_paths();
            }
        });
    }

    /// Decides what becomes of dials to a node.
    pub(crate) fn set_dials_to(&self, to: EndpointId, fault: Option<DialFault>) {
        self.with(|net| match fault {
            Some(fault) => net.faults.dials_to.insert(to, fault),
            None => net.faults.dials_to.remove(&to),
        });
    }

    /// Lets all connections between two nodes die. Those who are to notice do so at once, the
    /// others when they have heard nothing for long enough.
    pub(crate) fn lose_connections(
        &self,
        (a, a_notices): (EndpointId, bool),
        (b, b_notices): (EndpointId, bool),
    ) {
        self.with(|net| {
            for (conn, sides) in net.connections_of(a) {
                let Some(pair) = net.connections.get_mut(&conn) else {
                    continue;
                };
                if pair.end(sides.other()).node != b {
                    continue;
                }
                pair.lost = true;
                if a_notices {
                    net.end_gone(conn, sides, "lost");
                }
                if b_notices {
                    net.end_gone(conn, sides.other(), "lost");
                }
                net.refresh_path(conn);
            }
        });
    }

    /// Ends a node without a word to anyone. Drop it afterwards.
    pub(crate) fn crash(&self, id: EndpointId) {
        self.with(|net| {
            for (conn, side) in net.connections_of(id) {
                net.end_gone(conn, side, "crashed");
            }
            let site = net.site(id);
            let stream_limit = site.stream_limit;
            *site = super::Site {
                stream_limit,
                ..Default::default()
            };
        });
    }

    /// Lets a node read nothing until then.
    pub(crate) fn stop_reads(&self, id: EndpointId, until: Instant) {
        self.with(|net| {
            net.site(id).reads_from = Some(until);
            net.schedule(until, Event::Readable(id));
        });
    }

    /// Lets a node read so many bytes in a second, or as many as there are.
    pub(crate) fn set_read_rate(&self, id: EndpointId, rate: Option<u32>) {
        self.with(|net| {
            let site = net.site(id);
            site.read_rate = rate;
            // The pause after the last read was one of the old rate.
            if site.paced_until.take().is_some() {
                net.wake_readers(id);
            }
        });
    }

    /// Lets peers of a node have so many streams open towards it, whatever it says itself.
    pub(crate) fn pin_stream_limit(&self, id: EndpointId, limit: u64) {
        self.with(|net| net.site(id).stream_limit = Some(limit));
    }

    /// Gives a node other addresses.
    pub(crate) fn change_address(&self, id: EndpointId) {
        self.with(|net| {
            let site = net.site(id);
            site.version = site.version.wrapping_add(1);
            let woken = site.changes.take();
            net.woken.extend(woken);
        });
    }

    /// Tells a node how to dial a peer.
    pub(crate) fn introduce(&self, id: EndpointId, peer: EndpointId) {
        self.with(|net| net.site(id).introduced.insert(peer));
    }
}

impl Net {
    fn connections_of(&self, id: EndpointId) -> Vec<(u64, Side)> {
        let mut found = Vec::new();
        for (conn, pair) in &self.connections {
            if pair.dialer.node.as_bytes() == id.as_bytes() {
                found.push((*conn, Side::Dialer));
            }
            if pair.acceptor.node.as_bytes() == id.as_bytes() {
                found.push((*conn, Side::Acceptor));
            }
        }
        found
    }
}
