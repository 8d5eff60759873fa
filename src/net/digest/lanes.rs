//! Inputs of BLAKE3 side by side, one in each lane of the processor's vector registers.

use fearless_simd::{Simd, SimdBase, SimdInt, u32x8, u32x16};

pub(super) const BLOCK: usize = 64;

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

/// One input to hash: a chunk of a message, or two nodes of its tree.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) input: &'a [u8],
    pub(super) blocks: usize,
    /// Which chunk of its message it is.
    pub(super) counter: u32,
    /// Flags of all blocks, of the first one, and of the last.
    pub(super) flags: [u32; 3],
    /// Where the result belongs.
    pub(super) node: usize,
}

/// The hash of an input, by words.
pub(super) type Node = [u32; 8];

/// The same word of what is hashed in each lane.
trait Words<S: Simd, const LANES: usize>: SimdInt<S, Element = u32, Array = [u32; LANES]> {}

impl<S: Simd, V, const LANES: usize> Words<S, LANES> for V where
    V: SimdInt<S, Element = u32, Array = [u32; LANES]>
{
}

impl Job<'_> {
    /// No input.
    pub(super) const NONE: Self = Self {
        input: &[],
        blocks: 0,
        counter: 0,
        flags: [0; 3],
        node: 0,
    };

    /// The bytes of a block; none where there is no such block.
    #[inline(always)]
    fn block(&self, index: usize) -> &[u8] {
        let start = self.input.len().min(index * BLOCK);
        &self.input[start..self.input.len().min(start + BLOCK)]
    }

    #[inline(always)]
    fn flags_of(&self, index: usize) -> u32 {
        let [all, first, last] = self.flags;
        let is_first = u32::from(index == 0);
        let is_last = u32::from(index + 1 == self.blocks);
        all | (first * is_first) | (last * is_last)
    }
}

/// Hashes inputs, as many at a time as there are lanes.
#[inline(always)]
pub(super) fn hash<S: Simd>(simd: S, jobs: &[Job<'_>], nodes: &mut [Node]) {
    let mut rest = jobs;
    while !rest.is_empty() {
        // Sixteen lanes in two registers would need more of them than there are.
        let is_wide = S::u32s::LEN >= 16 && rest.len() > 8;
        let (some, others) = rest.split_at(rest.len().min(if is_wide { 16 } else { 8 }));
        if is_wide {
            hash_sixteen(simd, some, nodes);
        } else {
            hash_eight(simd, some, nodes);
        }
        rest = others;
    }
}

fn hash_eight<S: Simd>(simd: S, jobs: &[Job<'_>], nodes: &mut [Node]) {
    simd.vectorize(
        #[inline(always)]
        || hash_at_once::<S, u32x8<S>, 8>(simd, jobs, nodes),
    );
}

fn hash_sixteen<S: Simd>(simd: S, jobs: &[Job<'_>], nodes: &mut [Node]) {
    simd.vectorize(
        #[inline(always)]
        || hash_at_once::<S, u32x16<S>, 16>(simd, jobs, nodes),
    );
}

#[inline(always)]
fn hash_at_once<S: Simd, V: Words<S, LANES>, const LANES: usize>(
    simd: S,
    jobs: &[Job<'_>],
    nodes: &mut [Node],
) {
    let chain = chain::<S, V, LANES>(simd, jobs);
    let mut rows = [V::splat(simd, 0); LANES];
    for (row, words) in rows.iter_mut().zip(chain) {
        *row = words;
    }
    // Word by word out of each vector would take longer than to hash.
    let columns = turned::<S, V, LANES>(rows).map(V::to_array);
    for (job, words) in jobs.iter().zip(&columns) {
        if let Some(node) = words.first_chunk() {
            nodes[job.node] = *node;
        }
    }
}

/// What the inputs are hashed to, one in each lane.
#[inline(always)]
fn chain<S: Simd, V: Words<S, LANES>, const LANES: usize>(simd: S, jobs: &[Job<'_>]) -> [V; 8] {
    let blocks = jobs.iter().map(|job| job.blocks);
    let (least, most) = (blocks.clone().min().unwrap_or(0), blocks.max().unwrap_or(0));
    let counter = by_lane::<S, V, LANES>(simd, jobs, |job| job.counter);
    let mut chain = IV.map(|word| V::splat(simd, word));
    for index in 0..most {
        let message = message::<S, V, LANES>(simd, jobs, index);
        if index > 0 && index + 1 < least {
            // The middle of all inputs. To gather what is the same in all of them would take a third of the time.
            let length = V::splat(simd, BLOCK as u32);
            let flags = by_lane::<S, V, LANES>(simd, jobs, |job| job.flags[0]);
            chain = compress(simd, &chain, &message, counter, length, flags);
            continue;
        }
        let flags = by_lane::<S, V, LANES>(simd, jobs, |job| job.flags_of(index));
        let lengths = by_lane::<S, V, LANES>(simd, jobs, |job| job.block(index).len() as u32);
        let next = compress(simd, &chain, &message, counter, lengths, flags);
        if index < least {
            chain = next;
            continue;
        }
        let goes_on = by_lane::<S, V, LANES>(simd, jobs, |job| {
            0u32.wrapping_sub((index < job.blocks).into())
        });
        for (words, next) in chain.iter_mut().zip(next) {
            *words ^= (*words ^ next) & goes_on;
        }
    }
    chain
}

/// Something of each input.
#[inline(always)]
fn by_lane<S: Simd, V: Words<S, LANES>, const LANES: usize>(
    simd: S,
    jobs: &[Job<'_>],
    what: impl Fn(&Job<'_>) -> u32,
) -> V {
    let mut words = [0; LANES];
    for (word, job) in words.iter_mut().zip(jobs) {
        *word = what(job);
    }
    V::load_array(simd, words)
}

/// A block of each input, by words.
#[inline(always)]
fn message<S: Simd, V: Words<S, LANES>, const LANES: usize>(
    simd: S,
    jobs: &[Job<'_>],
    index: usize,
) -> [V; 16] {
    let mut message = [V::splat(simd, 0); 16];
    for (part, columns) in message.chunks_exact_mut(LANES).enumerate() {
        let mut rows = [V::splat(simd, 0); LANES];
        for (row, job) in rows.iter_mut().zip(jobs) {
            if index >= job.blocks {
                continue;
            }
            let block = job.block(index);
            let words = match block.first_chunk() {
                Some(block) => words(block),
                None => {
                    let mut padded = [0; BLOCK];
                    padded[..block.len()].copy_from_slice(block);
                    words(&padded)
                }
            };
            *row = V::from_slice(simd, &words[part * LANES..][..LANES]);
        }
        columns.copy_from_slice(&turned::<S, V, LANES>(rows));
    }
    message
}

#[inline(always)]
fn words(block: &[u8; BLOCK]) -> [u32; 16] {
    let bytes = block.as_chunks().0;
    std::array::from_fn(|at| u32::from_le_bytes(bytes[at]))
}

/// Columns for rows. To interleave the first half of the rows with the second moves the first bit of
/// a row's number behind the last one of the column's, and the first one of the column's behind the row's.
#[inline(always)]
fn turned<S: Simd, V: Words<S, LANES>, const LANES: usize>(mut rows: [V; LANES]) -> [V; LANES] {
    for _ in 0..LANES.ilog2() {
        let (first, second) = (rows, rows);
        for (at, pair) in rows.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (low, high) = first[at].interleave(second[at + LANES / 2]);
            *pair = [low, high];
        }
    }
    rows
}

/// The compression function in all lanes (section 2.2 of the BLAKE3 paper).
#[inline(always)]
fn compress<S: Simd, V: Words<S, LANES>, const LANES: usize>(
    simd: S,
    chain: &[V; 8],
    message: &[V; 16],
    counter: V,
    lengths: V,
    flags: V,
) -> [V; 8] {
    let [a, b, c, d, e, f, g, h] = *chain;
    let [i, j, k, l, ..] = IV.map(|word| V::splat(simd, word));
    let zero = V::splat(simd, 0);
    let mut state = [
        a, b, c, d, e, f, g, h, i, j, k, l, counter, zero, lengths, flags,
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
    std::array::from_fn(|at| state[at] ^ state[at + 8])
}

#[inline(always)]
fn mix<S: Simd, V: Words<S, LANES>, const LANES: usize>(
    state: &mut [V; 16],
    [a, b, c, d]: [usize; 4],
    x: V,
    y: V,
) {
    state[a] = state[a] + state[b] + x;
    state[d] = rotated::<S, V, LANES, 16>(state[d] ^ state[a]);
    state[c] += state[d];
    state[b] = rotated::<S, V, LANES, 12>(state[b] ^ state[c]);
    state[a] = state[a] + state[b] + y;
    state[d] = rotated::<S, V, LANES, 8>(state[d] ^ state[a]);
    state[c] += state[d];
    state[b] = rotated::<S, V, LANES, 7>(state[b] ^ state[c]);
}

/// Rotated to the right.
#[inline(always)]
fn rotated<S: Simd, V: Words<S, LANES>, const LANES: usize, const BY: u32>(words: V) -> V {
    (words >> BY) | (words << (32 - BY))
}
