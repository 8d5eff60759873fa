//! Ids of many messages at once.
//!
//! An id is the BLAKE3 hash of a content, and hashes are most of the work that is done for a message
//! of a kilobyte or more. The [`blake3`] crate spreads one long input over the lanes of the
//! processor's vector registers. Messages are too short for that, but they come many at a time: the
//! frames that a read brought, the orders that a sender has queued. Here they lie side by side, a
//! message in each lane. Single messages and those that are long enough by themselves are left to
//! the crate, and so is everything on processors whose vectors are too narrow.

use fearless_simd::{Level, Simd, dispatch};

use crate::proto::MessageId;

/// Inputs that are hashed side by side.
const LANES: usize = 8;

/// Chunks of messages that are worked on together.
const GROUP: usize = 32;

/// A message of more chunks than this is hashed by itself.
const MOST_CHUNKS: usize = 8;

/// Chunks that are not worth a pass over all lanes, which takes as long as one and a half of them
/// by themselves.
const TOO_FEW: usize = 1;

const CHUNK: usize = 1024;
const BLOCK: usize = 64;

/// Sections 2.1 and 2.2 of the BLAKE3 paper.
const IV: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];
const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;

/// The words of a block, in the order in which each round takes them.
const SCHEDULE: [[usize; 16]; 7] = {
    let permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut schedule = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]; 7];
    let mut round = 1;
    while round < 7 {
        let mut word = 0;
        while word < 16 {
            schedule[round][word] = schedule[round - 1][permutation[word]];
            word += 1;
        }
        round += 1;
    }
    schedule
};

/// The ids of some contents, in their order.
pub(crate) fn message_ids(contents: &[&[u8]]) -> Vec<MessageId> {
    let level = Level::new();
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
        if chunks <= TOO_FEW || !is_wide(level) {
            ids.extend(group.iter().map(|one| MessageId::from_content(one)));
        } else {
            dispatch!(level, simd => hash_group(simd, group, &mut ids));
        }
    }
    ids
}

/// Whether a pass over all lanes is faster than what the crate does with one input.
fn is_wide(level: Level) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return level.as_avx2().is_some();
    #[cfg(target_arch = "aarch64")]
    return level.as_neon().is_some();
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return {
        let _ = level;
        false
    };
}

/// How many chunks a content has. The empty one has one.
fn chunks_of(content: &[u8]) -> usize {
    content.len().div_ceil(CHUNK).max(1)
}

/// One input to hash: a chunk of a message, or two nodes of its tree.
#[derive(Clone, Copy)]
struct Job<'a> {
    input: &'a [u8],
    blocks: usize,
    /// Which chunk of its message it is.
    counter: u32,
    /// Flags of all blocks, of the first one, and of the last.
    flags: [u32; 3],
    /// Where the result belongs.
    node: usize,
}

impl Job<'_> {
    /// No input for a lane.
    const NONE: Self = Self {
        input: &[],
        blocks: 0,
        counter: 0,
        flags: [0; 3],
        node: 0,
    };
}

/// A node of the tree of a message: the root is its hash.
type Node = [u32; 8];

/// A message of a group: where its nodes begin, and how many there are on this level of its tree.
#[derive(Clone, Copy)]
struct Tree {
    first: usize,
    nodes: usize,
}

#[inline(always)]
fn hash_group<S: Simd>(simd: S, group: &[&[u8]], ids: &mut Vec<MessageId>) {
    simd.vectorize(
        #[inline(always)]
        || hash_side_by_side(group, ids),
    );
}

#[inline(always)]
fn hash_side_by_side(group: &[&[u8]], ids: &mut Vec<MessageId>) {
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
                blocks: input.len().div_ceil(BLOCK).max(1),
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
    run(jobs, &mut nodes);

    let trees = &mut trees[..group.len()];
    while trees.iter().any(|tree| tree.nodes > 1) {
        join_nodes(trees, &mut nodes);
    }
    ids.extend(trees.iter().map(|tree| {
        let mut id = [0; 32];
        for (bytes, word) in id.chunks_exact_mut(4).zip(nodes[tree.first]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        MessageId::from_bytes(id)
    }));
}

/// One level up in all trees: nodes are joined in pairs, and one that is left over stays what it is.
#[inline(always)]
fn join_nodes(trees: &mut [Tree], nodes: &mut [Node; GROUP]) {
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
    run(&jobs[..count], nodes);
}

/// Hashes inputs, as many at a time as there are lanes.
#[inline(always)]
fn run(jobs: &[Job<'_>], nodes: &mut [Node; GROUP]) {
    for some in jobs.chunks(LANES) {
        let mut lanes = [Job::NONE; LANES];
        lanes[..some.len()].copy_from_slice(some);
        let results = hash_lanes(&lanes);
        for (lane, job) in some.iter().enumerate() {
            nodes[job.node] = results.map(|words| words.0[lane]);
        }
    }
}

/// The hashes of an input in each lane, by words.
#[inline(always)]
fn hash_lanes(jobs: &[Job<'_>; LANES]) -> [Words; 8] {
    let mut chain = IV.map(Words::all);
    let most = jobs.iter().map(|job| job.blocks).max().unwrap_or(0);
    let counter = Words(jobs.map(|job| job.counter));
    for index in 0..most {
        let mut message = [Words::all(0); 16];
        let mut lengths = Words::all(0);
        let mut flags = Words::all(0);
        let mut goes_on = Words::all(0);
        for (lane, job) in jobs.iter().enumerate() {
            if index >= job.blocks {
                continue;
            }
            let rest = &job.input[index * BLOCK..];
            let mut padded = [0; BLOCK];
            let block = rest.first_chunk().unwrap_or_else(|| {
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            });
            for (words, bytes) in message.iter_mut().zip(block.as_chunks().0) {
                words.0[lane] = u32::from_le_bytes(*bytes);
            }
            let [all, first, last] = job.flags;
            let is_first = u32::from(index == 0);
            let is_last = u32::from(index + 1 == job.blocks);
            flags.0[lane] = all | (first * is_first) | (last * is_last);
            lengths.0[lane] = rest.len().min(BLOCK) as u32;
            goes_on.0[lane] = u32::MAX;
        }
        compress(&mut chain, &message, counter, lengths, flags, goes_on);
    }
    chain
}

/// The same word of what is hashed in each lane.
#[derive(Clone, Copy)]
struct Words([u32; LANES]);

impl Words {
    #[inline(always)]
    fn all(word: u32) -> Self {
        Self([word; LANES])
    }

    #[inline(always)]
    fn with(mut self, other: Self, join: impl Fn(u32, u32) -> u32) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word = join(*word, other);
        }
        self
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.with(other, u32::wrapping_add)
    }

    /// Mixes another in, and rotates.
    #[inline(always)]
    fn mixed<const RIGHT: u32>(self, other: Self) -> Self {
        self.with(other, |word, other| (word ^ other).rotate_right(RIGHT))
    }
}

/// The compression function in all lanes (section 2.2 of the BLAKE3 paper). Lanes where `goes_on` is
/// zero stay as they are.
#[inline(always)]
fn compress(
    chain: &mut [Words; 8],
    message: &[Words; 16],
    counter: Words,
    lengths: Words,
    flags: Words,
    goes_on: Words,
) {
    let [a, b, c, d, e, f, g, h] = *chain;
    let [i, j, k, l, ..] = IV.map(Words::all);
    let mut state = [
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
        k,
        l,
        counter,
        Words::all(0),
        lengths,
        flags,
    ];
    for order in &SCHEDULE {
        let word = |at: usize| message[order[at]];
        mix(&mut state, [0, 4, 8, 12], word(0), word(1));
        mix(&mut state, [1, 5, 9, 13], word(2), word(3));
        mix(&mut state, [2, 6, 10, 14], word(4), word(5));
        mix(&mut state, [3, 7, 11, 15], word(6), word(7));
        mix(&mut state, [0, 5, 10, 15], word(8), word(9));
        mix(&mut state, [1, 6, 11, 12], word(10), word(11));
        mix(&mut state, [2, 7, 8, 13], word(12), word(13));
        mix(&mut state, [3, 4, 9, 14], word(14), word(15));
    }
    for (at, words) in chain.iter_mut().enumerate() {
        let next = state[at].with(state[at + 8], |low, high| low ^ high);
        let changed = next.with(*words, |next, before| next ^ before);
        *words = words.with(changed.with(goes_on, |c, mask| c & mask), |w, c| w ^ c);
    }
}

#[inline(always)]
fn mix(state: &mut [Words; 16], [a, b, c, d]: [usize; 4], x: Words, y: Words) {
    state[a] = state[a].plus(state[b]).plus(x);
    state[d] = state[d].mixed::<16>(state[a]);
    state[c] = state[c].plus(state[d]);
    state[b] = state[b].mixed::<12>(state[c]);
    state[a] = state[a].plus(state[b]).plus(y);
    state[d] = state[d].mixed::<8>(state[a]);
    state[c] = state[c].plus(state[d]);
    state[b] = state[b].mixed::<7>(state[c]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids_one_by_one(contents: &[&[u8]]) -> Vec<MessageId> {
        contents
            .iter()
            .map(|content| blake3::hash(content).into())
            .collect()
    }

    /// All lanes, whatever the processor would be used for.
    fn ids_side_by_side(contents: &[&[u8]]) -> Vec<MessageId> {
        let mut ids = Vec::new();
        hash_side_by_side(contents, &mut ids);
        ids
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
        for length in (0..1300).chain(1300..=8192).step_by(61) {
            for lane in 0..LANES {
                let mut contents = vec![&bytes[..3]; LANES];
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
