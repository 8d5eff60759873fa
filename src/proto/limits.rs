//! The bounds of the protocol state.

/// The bounds of everything in the protocol state that a peer can make grow.
///
/// Every bound is for one topic. What is refused for a bound is counted in
/// [`Counters`](super::Counters). These are local decisions: nodes of one swarm may differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Payload bytes kept to answer Grafts, with 136 bytes more for each payload. When full, the
    /// oldest payloads are forgotten.
    pub cache_bytes: usize,
    /// Message ids remembered to recognise duplicates. When full, the oldest are forgotten.
    pub seen_ids: usize,
    /// Announced messages waited for at once. When full, further announcements are ignored.
    pub missing_ids: usize,
    /// Peers remembered per announced message. When full, further claims are ignored.
    pub claims_per_id: usize,
    /// Payloads sent to one peer in answer to its Grafts, per second. Further Grafts still move
    /// the peer to the eager set, but get an announcement in place of the payload, so that the
    /// peer can ask again. Our own Grafts keep to three quarters of this rate.
    pub graft_replies_per_second: u32,
    /// Announcements waiting for the next lazy push, to all neighbors of a topic together. When full, the oldest
    /// are dropped.
    pub lazy_queue: usize,
    /// The largest peer data accepted from a peer, in bytes. Larger data is dropped, the peer kept.
    pub peer_data_bytes: usize,
    /// Neighbor requests under way at once. Joins, which only the application asks for, are bounded by 128.
    pub pending_requests: usize,
    /// How often a peer may become a neighbor at its own wish without a pause; it may once more every
    /// five seconds. One that comes more often is taken in where there is room, but nobody is dropped
    /// for it, and others are not told.
    pub joins_per_peer: u32,
    /// How many of the most recent messages are announced to every new neighbor, so that late
    /// joiners can ask for them. Messages published while there was no neighbor at all are always
    /// announced to the first one.
    ///
    /// A message that is passed on to late joiners may go round for longer than it is cached, since
    /// each of them caches it anew. So that nobody takes it for a new one, message ids are then
    /// remembered for ten times [`Config::message_cache_retention`](super::plumtree::Config) at least.
    pub late_join_history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cache_bytes: 8 * 1024 * 1024,
            seen_ids: 1 << 18,
            missing_ids: 4096,
            claims_per_id: 8,
            graft_replies_per_second: 2048,
            lazy_queue: 4096,
            peer_data_bytes: 1024,
            pending_requests: 16,
            joins_per_peer: 8,
            late_join_history: 0,
        }
    }
}
