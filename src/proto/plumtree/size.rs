//! What fits a frame.

/// What the frame of a message takes beyond the message of this layer: the topic's enum tag.
const TOPIC_TAG: usize = 1;

/// The longest encoding of a [`Round`].
const ROUND_LEN: usize = 3;

/// The largest content that may be broadcast, in bytes, where frames may have `max_message_size`.
///
/// Its frame stays below that size on every hop, however long the round's encoding grows:
///
/// ```
/// # use smol_gossip::proto::plumtree::max_content_size;
/// assert_eq!(max_content_size(4096), 4055);
/// ```
pub fn max_content_size(max_message_size: usize) -> usize {
    // Two enum tags for the message, its id, then the content behind its length, then the scope.
    let room = max_message_size.saturating_sub(1 + TOPIC_TAG + 1 + 32 + 1 + ROUND_LEN);
    // The length of the length: less room can only shorten it, so the first fit is the best.
    (1..=varint_len(room))
        .map(|len| room.saturating_sub(len))
        .find(|content| content + varint_len(*content) <= room)
        .unwrap_or(0)
}

/// How many announcements fit a frame below `max_message_size`, whatever their rounds.
pub(super) fn ihaves_per_frame(max_message_size: usize) -> usize {
    let room = max_message_size.saturating_sub(1 + TOPIC_TAG + 1);
    let room = room.saturating_sub(varint_len(room / (32 + ROUND_LEN)));
    (room / (32 + ROUND_LEN)).max(1)
}

/// The length of a number as a varint, in bytes.
fn varint_len(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}
