//! Ids of many messages at once.
//!
//! An id is the BLAKE3 hash of a content, and hashes are most of the work that is done for a message
//! of a kilobyte or more. The [`blake3`] crate spreads one long input over the lanes of the
//! processor's vector registers. Messages are too short for that, but they come many at a time: the
//! frames that a read brought, the orders that a sender has queued. Here their chunks lie
//! [side by side](lanes). What is faster by itself is left to the crate: single messages of a chunk,
//! those that are long enough, and everything on processors whose vectors are too narrow.

#![cfg_attr(
    not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "nothing is wide enough there")
)]

mod lanes;

use fearless_simd::{Level, Simd};

use self::lanes::{BLOCK, Job, Node};
use crate::proto::MessageId;

/// Chunks of messages that are worked on together.
const GROUP: usize = 32;

/// A message of more chunks than this is hashed by itself.
const MOST_CHUNKS: usize = 8;

const CHUNK: usize = 1024;

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;

/// The ids of some contents, in their order.
pub(crate) fn message_ids(contents: &[&[u8]]) -> Vec<MessageId> {
    let mut ids = Vec::with_capacity(contents.len());
    let mut rest = contents;
    while let Some(first) = rest.first() {
        let mut chunks = 0;
        let fitting = rest.iter().take_while(|content| {
            let more = chunks_of(content);
            chunks += more;
            more <= MOST_CHUNKS && chunks <= GROUP
        });
        let (group, others) = rest.split_at(fitting.count());
        if group.is_empty() {
            ids.push(MessageId::from_content(first));
            rest = &rest[1..];
            continue;
        }
        rest = others;
        if !is_worth_it(group) || !hash_group(group, &mut ids) {
            ids.extend(group.iter().map(|one| MessageId::from_content(one)));
        }
    }
    ids
}

/// Whether a pass over all lanes is likely to be faster than one message after the other. For each block of
/// its longest input, a pass takes as long as one and a half blocks by themselves.
fn is_worth_it(group: &[&[u8]]) -> bool {
    let longest = group.iter().map(|content| blocks_of(content)).max();
    let one_by_one: usize = group.iter().map(|content| blocks_alone(content)).sum();
    2 * one_by_one > 3 * longest.unwrap_or(0).min(CHUNK / BLOCK)
}

/// How many blocks take as long as a content by itself, of which the crate hashes two, four or eight whole
/// chunks in the time of one.
fn blocks_alone(content: &[u8]) -> usize {
    let (chunks, rest) = (content.len() / CHUNK, content.len() % CHUNK);
    (chunks.count_ones() as usize * CHUNK + rest)
        .div_ceil(BLOCK)
        .max(1)
}

/// Hashes a group side by side, if the processor has the vectors for it; says whether it has.
fn hash_group(group: &[&[u8]], ids: &mut Vec<MessageId>) -> bool {
    let level = Level::new();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if let Some(simd) = level.as_avx512() {
        hash_side_by_side(simd, group, ids);
        return true;
    } else if let Some(simd) = level.as_avx2() {
        hash_side_by_side(simd, group, ids);
        return true;
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(simd) = level.as_neon() {
        hash_side_by_side(simd, group, ids);
        return true;
    }
    let _ = (level, group, ids);
    false
}

/// How many chunks a content has. The empty one has one.
fn chunks_of(content: &[u8]) -> usize {
    content.len().div_ceil(CHUNK).max(1)
}

/// How many blocks a content has. The empty one has one.
fn blocks_of(content: &[u8]) -> usize {
    content.len().div_ceil(BLOCK).max(1)
}

/// A message of a group: where its nodes begin, and how many there are on this level of its tree.
#[derive(Clone, Copy)]
struct Tree {
    first: usize,
    nodes: usize,
}

fn hash_side_by_side<S: Simd>(simd: S, group: &[&[u8]], ids: &mut Vec<MessageId>) {
    let mut nodes = [Node::default(); GROUP];
    let mut trees = [Tree { first: 0, nodes: 0 }; GROUP];
    let mut jobs = [Job::NONE; GROUP];
    let mut count = 0;
    for (content, tree) in group.iter().zip(&mut trees) {
        let chunks = chunks_of(content);
        *tree = Tree {
            first: count,
            nodes: chunks,
        };
        let root = if chunks == 1 { ROOT } else { 0 };
        for counter in 0..chunks {
            let end = content.len().min((counter + 1) * CHUNK);
            let input = &content[counter * CHUNK..end];
            jobs[count] = Job {
                input,
                blocks: blocks_of(input),
                counter: counter as u32,
                flags: [0, CHUNK_START, CHUNK_END | root],
                node: count,
            };
            count += 1;
        }
    }
    // Lanes end together where their inputs are about as long.
    let jobs = &mut jobs[..count];
    jobs.sort_unstable_by_key(|job| job.blocks);
    lanes::hash(simd, jobs, &mut nodes);

    let trees = &mut trees[..group.len()];
    while trees.iter().any(|tree| tree.nodes > 1) {
        join_nodes(simd, trees, &mut nodes);
    }
    ids.extend(trees.iter().map(|tree| {
        let words = nodes[tree.first].map(u32::to_le_bytes);
        let id = words.as_flattened().first_chunk();
        MessageId::from_bytes(*id.unwrap_or(&[0; 32]))
    }));
}

/// One level up in all trees: nodes are joined in pairs, and one that is left over stays what it is.
fn join_nodes<S: Simd>(simd: S, trees: &mut [Tree], nodes: &mut [Node; GROUP]) {
    let mut blocks = [[0; BLOCK]; GROUP / 2];
    let mut pairs = [(0, 0); GROUP / 2];
    let mut count = 0;
    for tree in trees.iter_mut() {
        let root = if tree.nodes == 2 { ROOT } else { 0 };
        for pair in 0..tree.nodes / 2 {
            let left = tree.first + 2 * pair;
            let words = nodes[left].iter().chain(&nodes[left + 1]);
            for (bytes, word) in blocks[count].chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            pairs[count] = (tree.first + pair, PARENT | root);
            count += 1;
        }
        let joined = tree.nodes / 2;
        if tree.nodes % 2 == 1 {
            nodes[tree.first + joined] = nodes[tree.first + tree.nodes - 1];
        }
        tree.nodes = tree.nodes.div_ceil(2);
    }
    let mut jobs = [Job::NONE; GROUP / 2];
    for ((job, block), (node, flags)) in jobs.iter_mut().zip(&blocks).zip(pairs) {
        *job = Job {
            input: block,
            blocks: 1,
            counter: 0,
            flags: [flags, 0, 0],
            node,
        };
    }
    lanes::hash(simd, &jobs[..count], nodes);
}

#[cfg(test)]
mod tests {
    use fearless_simd::dispatch;
    use proptest::prelude::*;

    use super::*;

    fn ids_one_by_one(contents: &[&[u8]]) -> Vec<MessageId> {
        contents
            .iter()
            .map(|content| blake3::hash(content).into())
            .collect()
    }

    /// As every kind of vectors that the processor has would do it, used or not.
    fn ids_side_by_side(contents: &[&[u8]]) -> Vec<MessageId> {
        let by = |level: Level| {
            let mut ids = Vec::new();
            dispatch!(level, simd => hash_side_by_side(simd, contents, &mut ids));
            ids
        };
        let ids = by(Level::new());
        for level in [Level::baseline()].into_iter().chain(narrower()) {
            assert_eq!(by(level), ids, "{level:?}");
        }
        ids
    }

    /// Vectors that are not the widest.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    fn narrower() -> impl Iterator<Item = Level> {
        let level = Level::new();
        let narrow = level.as_sse4_2().map(Level::Sse4_2);
        narrow.into_iter().chain(level.as_avx2().map(Level::Avx2))
    }

    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    fn narrower() -> impl Iterator<Item = Level> {
        std::iter::empty()
    }

    /// Where blocks, chunks, and what is hashed side by side end.
    const EDGES: &[usize] = &[
        0, 1, 63, 64, 65, 127, 128, 1023, 1024, 1025, 2048, 3073, 4096, 8192, 8193,
    ];

    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![
            3 => 0..200usize,
            2 => 900..1100usize,
            2 => 3900..4200usize,
            1 => 0..20_000usize,
            3 => proptest::sample::select(EDGES),
        ]
    }

    proptest! {
        #[test]
        fn ids_are_the_hashes_of_the_contents(
            lengths in proptest::collection::vec(length(), 0..80),
            seed in any::<u8>(),
        ) {
            let bytes: Vec<u8> = (0..20_000u32).map(|n| ((n * n) >> 3) as u8 ^ seed).collect();
            let contents: Vec<&[u8]> = lengths
                .iter()
                .enumerate()
                .map(|(n, length)| &bytes[n.min(bytes.len() - length)..][..*length])
                .collect();
            prop_assert_eq!(message_ids(&contents), ids_one_by_one(&contents));
        }
    }

    #[test]
    fn every_length_in_every_lane() {
        let bytes: Vec<u8> = (0..=8192u32).map(|n| (n % 251) as u8).collect();
        let lengths = (0..=8192).step_by(61).chain(EDGES.iter().copied());
        for length in lengths.filter(|length| *length <= bytes.len()) {
            for (lanes, lane) in [(4, 1), (8, 0), (8, 7), (16, 0), (16, 9), (16, 15)] {
                let mut contents = vec![&bytes[..3]; lanes];
                contents[lane] = &bytes[..length];
                assert_eq!(ids_side_by_side(&contents), ids_one_by_one(&contents));
            }
        }
    }

    #[test]
    fn a_group_is_as_large_as_it_may_be() {
        let bytes = vec![7; MOST_CHUNKS * CHUNK];
        let long = vec![&bytes[..]; GROUP / MOST_CHUNKS];
        assert_eq!(ids_side_by_side(&long), ids_one_by_one(&long));
        let short = vec![&bytes[..1]; GROUP];
        assert_eq!(ids_side_by_side(&short), ids_one_by_one(&short));
    }
}
