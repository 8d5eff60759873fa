//! Nodes that fail and come back, and networks that split.

use super::{Network, NodeId, Occurrence};
use crate::sim::{Noticed, Time};

impl Network {
    /// Ends a node without a word to anyone. How the others find out is a matter of
    /// [`Noticed`]. The messages that were broadcast do not count it any more.
    pub fn kill(&mut self, node: NodeId) {
        let place = &mut self.nodes[node.index()];
        if place.state.take().is_none() {
            return;
        }
        place.timer = None;
        let links = place.links.take();
        self.running -= 1;
        for message in &mut self.messages {
            message.fail(node);
        }
        if self.config.noticed == Noticed::AtOnce {
            for link in links {
                let closed = Occurrence::Closed {
                    at: link.peer,
                    other: node,
                    link: link.number,
                };
                self.queue.push(self.now + Time::from(link.latency), closed);
            }
        }
    }

    /// Starts a node again that has failed, without any memory. It does nothing before it
    /// [joins](Self::join).
    pub fn restart(&mut self, node: NodeId) {
        if !self.is_running(node) {
            let state = self.new_state(node);
            self.nodes[node.index()].state = Some(state);
            self.running += 1;
        }
    }

    /// Puts nodes on a side of their own: no message crosses from one side to another. At first
    /// all nodes are on side 0.
    pub fn split(&mut self, nodes: impl IntoIterator<Item = NodeId>, side: u8) {
        for node in nodes {
            self.nodes[node.index()].side = side;
        }
        if self.config.noticed != Noticed::AtOnce {
            return;
        }
        for (number, node) in self.nodes.iter().enumerate() {
            for link in node.links.iter() {
                if self.nodes[link.peer.index()].side != node.side {
                    let closed = Occurrence::Closed {
                        at: NodeId(number as u32),
                        other: link.peer,
                        link: link.number,
                    };
                    self.queue.push(self.now + Time::from(link.latency), closed);
                }
            }
        }
    }

    /// Makes the network whole again.
    pub fn heal(&mut self) {
        for node in &mut self.nodes {
            node.side = 0;
        }
    }
}
