//! Whose frames are handled next.
//!
//! Streams with frames to handle wait here, in line for their peer, and peers take turns. So a peer
//! that has filled a thousand streams gets no more of a pass than one with a single stream. A peer
//! that is held has no turns until it is released.

use std::collections::VecDeque;

use indexmap::IndexMap;
use iroh::EndpointId;

/// Streams in line, by peer.
#[derive(Debug)]
pub(crate) struct Ready<S> {
    /// The only stream there is. A single peer with a single stream needs no line.
    sole: Option<(EndpointId, S)>,
    /// Invariant: no line is empty, and there is none beside a sole stream.
    lines: IndexMap<EndpointId, VecDeque<S>>,
    /// The peers of `lines`, each once, in the order of their turns.
    turns: VecDeque<EndpointId>,
    /// The lines of peers that are held.
    held: IndexMap<EndpointId, VecDeque<S>>,
    /// Streams in `sole` and `lines`.
    len: usize,
}

impl<S> Ready<S> {
    pub(crate) fn new() -> Self {
        Self {
            sole: None,
            lines: IndexMap::new(),
            turns: VecDeque::new(),
            held: IndexMap::new(),
            len: 0,
        }
    }

    /// Streams in line, but those of peers that are held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Peers in line.
    pub(crate) fn peers(&self) -> usize {
        self.turns.len() + usize::from(self.sole.is_some())
    }

    /// Streams of peers that are held.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.held.values().map(VecDeque::len).sum()
    }

    /// Peers that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0 && self.held.is_empty()
    }

    /// Whether a peer is held.
    pub(crate) fn is_held(&self, peer: &EndpointId) -> bool {
        !self.held.is_empty() && self.held.contains_key(peer.as_bytes())
    }

    /// Gives a peer no more turns.
    pub(crate) fn hold(&mut self, peer: EndpointId) {
        let line = match self.sole.take() {
            Some((sole, stream)) if sole == peer => VecDeque::from([stream]),
            sole => {
                self.sole = sole;
                self.turns.retain(|other| *other != peer);
                self.lines.swap_remove(&peer).unwrap_or_default()
            }
        };
        self.len -= line.len();
        self.held.entry(peer).or_default().extend(line);
    }

    /// Gives a peer that was held its turns again.
    pub(crate) fn release(&mut self, peer: EndpointId) {
        for stream in self.held.swap_remove(&peer).into_iter().flatten() {
            self.push(peer, stream);
        }
    }

    /// Puts a stream at the end of its peer's line.
    pub(crate) fn push(&mut self, peer: EndpointId, stream: S) {
        if !self.held.is_empty()
            && let Some(line) = self.held.get_mut(peer.as_bytes())
        {
            line.push_back(stream);
            return;
        }
        self.len += 1;
        if self.len == 1 {
            self.sole = Some((peer, stream));
            return;
        }
        if let Some((first, stream)) = self.sole.take() {
            self.line_up(first, stream);
        }
        self.line_up(peer, stream);
    }

    fn line_up(&mut self, peer: EndpointId, stream: S) {
        match self.lines.get_mut(peer.as_bytes()) {
            Some(line) => line.push_back(stream),
            None => {
                self.lines.insert(peer, VecDeque::from([stream]));
                self.turns.push_back(peer);
            }
        }
    }

    /// Takes the first stream of the peer whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(EndpointId, S)> {
        if let Some(sole) = self.sole.take() {
            self.len = 0;
            return Some(sole);
        }
        let peer = self.turns.pop_front()?;
        let line = self.lines.get_mut(peer.as_bytes())?;
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
        assert_eq!((ready.len(), ready.peers()), (101, 2));
        assert_eq!(ready.pop(), Some((peer(1), 0)));
        assert_eq!(ready.pop(), Some((peer(2), 100)));
        ready.push(peer(2), 101);
        assert_eq!(ready.pop(), Some((peer(1), 1)));
        assert_eq!(ready.pop(), Some((peer(2), 101)));
        let rest = std::iter::from_fn(|| ready.pop());
        assert!(rest.eq((2..100).map(|n| (peer(1), n))));
        assert_eq!((ready.len(), ready.peers()), (0, 0));
        assert!(ready.lines.is_empty() && ready.turns.is_empty());
    }

    #[test]
    fn a_sole_stream_keeps_its_place_when_others_come() {
        let mut ready = Ready::new();
        for n in 0..3 {
            ready.push(peer(1), n);
            assert!(ready.lines.is_empty(), "no line for a single stream");
            assert_eq!((ready.len(), ready.peers()), (1, 1));
            assert_eq!(ready.pop(), Some((peer(1), n)));
        }
        ready.push(peer(1), 3);
        ready.push(peer(2), 4);
        ready.push(peer(1), 5);
        assert_eq!((ready.len(), ready.peers()), (3, 2));
        let all = std::iter::from_fn(|| ready.pop());
        assert!(all.eq([(peer(1), 3), (peer(2), 4), (peer(1), 5)]));
        // The last of a line is in it still.
        ready.push(peer(1), 6);
        ready.push(peer(1), 7);
        assert_eq!(ready.pop(), Some((peer(1), 6)));
        ready.push(peer(2), 8);
        assert_eq!(ready.pop(), Some((peer(1), 7)));
        assert_eq!(ready.pop(), Some((peer(2), 8)));
        assert_eq!(ready.pop(), None);
    }
    #[test]
    fn who_is_held_has_no_turns_and_loses_nothing() {
        let mut ready = Ready::new();
        ready.push(peer(1), 0);
        ready.hold(peer(1));
        assert_eq!((ready.pop(), ready.waiting()), (None, 1));
        ready.push(peer(1), 1);
        ready.push(peer(2), 2);
        ready.push(peer(3), 3);
        ready.hold(peer(3));
        assert!(ready.is_held(&peer(1)) && !ready.is_held(&peer(2)));
        assert_eq!((ready.len(), ready.peers()), (1, 1));
        assert_eq!((ready.pop(), ready.pop()), (Some((peer(2), 2)), None));
        ready.release(peer(1));
        ready.push(peer(1), 4);
        let rest = std::iter::from_fn(|| ready.pop());
        assert!(rest.eq([0, 1, 4].map(|n| (peer(1), n))));
        assert!(!ready.is_empty(), "one still waits");
        ready.release(peer(3));
        assert_eq!(ready.pop(), Some((peer(3), 3)));
        assert!(ready.is_empty());
    }
}
