//! Whose frames are handled next.
//!
//! Streams with frames to handle wait here, in line for their peer, and peers take turns. So a peer
//! that has filled a thousand streams gets no more of a pass than one with a single stream.

use std::collections::VecDeque;

use indexmap::IndexMap;
use iroh::EndpointId;

/// Streams in line, by peer.
#[derive(Debug)]
pub(crate) struct Ready<S> {
    /// Invariant: no line is empty.
    lines: IndexMap<EndpointId, VecDeque<S>>,
    /// The peers of `lines`, each once, in the order of their turns.
    turns: VecDeque<EndpointId>,
    len: usize,
}

impl<S> Ready<S> {
    pub(crate) fn new() -> Self {
        Self {
            lines: IndexMap::new(),
            turns: VecDeque::new(),
            len: 0,
        }
    }

    /// Streams in all lines.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a stream at the end of its peer's line.
    pub(crate) fn push(&mut self, peer: EndpointId, stream: S) {
        self.len += 1;
        match self.lines.get_mut(&peer) {
            Some(line) => line.push_back(stream),
            None => {
                self.lines.insert(peer, VecDeque::from([stream]));
                self.turns.push_back(peer);
            }
        }
    }

    /// Takes the first stream of the peer whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(EndpointId, S)> {
        let peer = self.turns.pop_front()?;
        let line = self.lines.get_mut(&peer)?;
        let stream = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.lines.swap_remove(&peer);
        } else {
            self.turns.push_back(peer);
        }
        Some((peer, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> EndpointId {
        iroh::SecretKey::from_bytes(&[n; 32]).public()
    }

    #[test]
    fn peers_take_turns_however_many_streams_they_have() {
        let mut ready = Ready::new();
        for n in 0..100 {
            ready.push(peer(1), n);
        }
        ready.push(peer(2), 100);
        assert_eq!(ready.len(), 101);
        assert_eq!(ready.pop(), Some((peer(1), 0)));
        assert_eq!(ready.pop(), Some((peer(2), 100)));
        ready.push(peer(2), 101);
        assert_eq!(ready.pop(), Some((peer(1), 1)));
        assert_eq!(ready.pop(), Some((peer(2), 101)));
        let rest = std::iter::from_fn(|| ready.pop());
        assert!(rest.eq((2..100).map(|n| (peer(1), n))));
        assert_eq!(ready.len(), 0);
        assert!(ready.lines.is_empty() && ready.turns.is_empty());
    }
}
