//! The connections of a node, as it knows them.

use super::{NodeId, Time};

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    /// The number of the connection; both ends have the same.
    pub(super) number: u32,
    /// How long a message takes.
    pub(super) latency: u32,
    /// When the last message arrives that was sent: none overtakes another.
    pub(super) last_arrival: Time,
    /// Since when nothing gets through any more, if so.
    pub(super) broken: bool,
}

/// All connections, the oldest first. They are few.
#[derive(Clone, Debug, Default)]
pub(super) struct Links(Vec<Link>);

impl Links {
    /// Adds one, and returns its place.
    pub(super) fn add(&mut self, link: Link) -> usize {
        self.0.reserve_exact(1);
        self.0.push(link);
        self.0.len() - 1
    }

    /// The place of the connection to send over: the newest one.
    pub(super) fn place_to(&self, peer: NodeId) -> Option<usize> {
        self.0.iter().rposition(|link| link.peer == peer)
    }

    /// The connection at a place, until one is removed.
    pub(super) fn at(&mut self, place: usize) -> &mut Link {
        &mut self.0[place]
    }

    pub(super) fn contains(&self, peer: NodeId) -> bool {
        self.0.iter().any(|link| link.peer == peer)
    }

    pub(super) fn numbered(&mut self, peer: NodeId, number: u32) -> Option<&mut Link> {
        let same = |link: &&mut Link| link.number == number && link.peer == peer;
        self.0.iter_mut().find(same)
    }

    /// Removes one connection, and says whether it was there.
    pub(super) fn remove(&mut self, peer: NodeId, number: u32) -> bool {
        let same = |link: &Link| link.number == number && link.peer == peer;
        let place = self.0.iter().position(same);
        place.map(|place| self.take_out(place)).is_some()
    }

    /// Removes the oldest connection to a peer.
    pub(super) fn pop(&mut self, peer: NodeId) -> Option<Link> {
        let place = self.0.iter().position(|link| link.peer == peer)?;
        Some(self.take_out(place))
    }

    /// There are more for a moment now and then, and nearly always as many as there are neighbors.
    fn take_out(&mut self, place: usize) -> Link {
        let link = self.0.remove(place);
        if self.0.capacity() > self.0.len() + 2 {
            self.0.shrink_to(self.0.len() + 1);
        }
        link
    }

    pub(super) fn take(&mut self) -> Vec<Link> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter()
    }
}
