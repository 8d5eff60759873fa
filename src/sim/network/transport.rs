//! Connections, and what goes over them.

use rand::RngExt;

use super::{
    NodeId,
    ground::{Ground, News, Occurrence, Parcel},
};
use crate::{
    proto::{LinkId, Message, plumtree, topic::Received},
    sim::{Noticed, Time, broadcast::message_of, links::Link, micros},
};

/// What a broken connection is counted among.
fn is_gossip(message: &Message<NodeId>) -> bool {
    matches!(message, Message::Gossip(_))
}

impl Ground {
    /// Whether messages between two nodes can arrive.
    pub(super) fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        let side = |node: NodeId| self.places[node.index()].side;
        self.runs.is_set(to) && side(from) == side(to)
    }

    /// Sends a message, dialing first where there is no connection.
    #[inline]
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message<NodeId>) {
        self.traffic.count(&message);
        let breaks = self.happens(self.config.loss.connection);
        let vanishes = self.happens(self.config.loss.message);
        let jitter = match self.jitter {
            0 => 0,
            jitter => self.rng.random_range(0..=jitter),
        };
        let place = self.places[from.index()].links.place_to(to);
        let place = place.unwrap_or_else(|| self.dial(from, to));
        let link = self.places[from.index()].links.at(place);
        if link.broken || breaks || vanishes {
            let number = link.number;
            let newly_broken = breaks && !link.broken;
            self.traffic.lost += 1;
            if newly_broken {
                self.break_link(from, to, number);
            }
            return;
        }
        let at = link
            .last_arrival
            .max(self.now + Time::from(link.latency) + jitter);
        link.last_arrival = at;
        let link = link.number;
        self.gossip_under_way += u64::from(is_gossip(&message));
        let received = Received {
            from,
            link: LinkId(link.into()),
            message,
            // It was worked out where the message was broadcast, and nothing changes on its way.
            is_hashed: true,
        };
        let parcel = Parcel { to, received };
        let place = self.parcels.insert(parcel);
        self.queue.push(at, Occurrence::Parcel(place as u32));
    }

    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random_bool(share)
    }

    /// Dials, and returns the place of the connection.
    fn dial(&mut self, from: NodeId, to: NodeId) -> usize {
        self.traffic.dials += 1;
        self.next_link = self.next_link.wrapping_add(1);
        let number = self.next_link;
        let latency = self.config.latency.between(from, to, self.seed);
        let arrives = self.now + latency;
        let place = self.places[from.index()].links.add(Link {
            peer: to,
            number,
            latency: u32::try_from(latency).unwrap_or(u32::MAX),
            last_arrival: arrives + 2 * latency * Time::from(self.config.handshake),
            broken: false,
        });
        let link = number;
        self.announce(arrives, News::Dial { from, to, link });
        place
    }

    /// A dial arrives.
    pub(super) fn accept(&mut self, from: NodeId, to: NodeId, link: u32) {
        let latency = self.config.latency.between(from, to, self.seed);
        if self.reaches(from, to) {
            self.places[to.index()].links.add(Link {
                peer: from,
                number: link,
                latency: u32::try_from(latency).unwrap_or(u32::MAX),
                last_arrival: 0,
                broken: false,
            });
        } else {
            self.traffic.failed_dials += 1;
            if self.config.noticed != Noticed::Never {
                let (at, other) = (from, to);
                let refused = News::Refused { at, other, link };
                self.announce(self.now + latency, refused);
            }
        }
    }

    /// A message arrives. Says whether there is someone who gets it.
    #[inline]
    pub(super) fn lets_in(&mut self, parcel: &Parcel) -> bool {
        let Parcel { to, ref received } = *parcel;
        let Received {
            from, ref message, ..
        } = *received;
        let link = received.link.0 as u32;
        self.gossip_under_way -= u64::from(is_gossip(message));
        let reached = self.reaches(from, to);
        let known = self.link(to, from, link).is_some();
        if !reached || !known {
            self.traffic.lost += 1;
            // A node that runs but does not know the connection says so, whatever else is noticed.
            if reached || self.config.noticed != Noticed::Never {
                let latency = self.config.latency.between(from, to, self.seed);
                let (at, other) = (from, to);
                let closed = News::Closed { at, other, link };
                self.announce(self.now + latency, closed);
            }
            return false;
        }
        if let Message::Gossip(plumtree::Message::Gossip(payload)) = message
            && let Some(index) = message_of(&payload.content)
            && let Some(broadcast) = self.messages.get_mut(index)
        {
            broadcast.payloads += 1;
        }
        true
    }

    /// A node closes its connections to another one. What was sent still arrives.
    pub(super) fn close(&mut self, by: NodeId, other: NodeId) {
        while let Some(link) = self.places[by.index()].links.pop(other) {
            let at = link.last_arrival.max(self.now + Time::from(link.latency));
            let closed = News::Closed {
                at: other,
                other: by,
                link: link.number,
            };
            self.announce(at, closed);
        }
    }

    /// A node notices the end of a connection. Says whether it was the last one to that other.
    pub(super) fn forget_link(&mut self, at: NodeId, other: NodeId, link: u32) -> bool {
        let Some(place) = self.places.get_mut(at.index()) else {
            return false;
        };
        place.links.remove(other, link) && !place.links.contains(other)
    }

    /// The end that a node has of a connection; nobody has none.
    fn link(&mut self, at: NodeId, other: NodeId, number: u32) -> Option<&mut Link> {
        let place = self.places.get_mut(at.index())?;
        place.links.numbered(other, number)
    }

    /// From now on nothing gets through a connection. Both ends find out in time.
    fn break_link(&mut self, a: NodeId, b: NodeId, number: u32) {
        let noticed = self.now + micros(self.config.loss.noticed_after);
        for (at, other) in [(a, b), (b, a)] {
            if let Some(link) = self.link(at, other, number) {
                link.broken = true;
            }
            let link = number;
            let closed = News::Closed { at, other, link };
            self.announce(noticed, closed);
        }
    }
}
