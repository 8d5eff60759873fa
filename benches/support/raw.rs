//! The same messages over one stream of a bare iroh connection: what gossip is measured against.
//!
//! `raw` moves frames and nothing else. The floor does what no gossip node can do without, which
//! is to hash every message where it is published and where it is checked, and to remember it.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
};

use bytes::{BufMut, Bytes, BytesMut};
use iroh::{
    Endpoint,
    endpoint::{Connection, RecvStream, SendStream},
};

use super::node::{self, Windows};

pub(crate) const ALPN: &[u8] = b"raw-frames";

/// Bytes of frames given to one write.
const BATCH_BYTES: usize = 64 * 1024;

/// Chunks taken in one read.
const CHUNKS: usize = 32;

/// Ids remembered at once. A node forgets by age too, so that more would be no fair comparison.
const SEEN: usize = 1 << 18;

/// Two endpoints, and a connection between them as each of them sees it.
pub(crate) struct Pair {
    endpoints: [Endpoint; 2],
    pub(crate) dialed: Connection,
    pub(crate) accepted: Connection,
}

impl Pair {
    pub(crate) async fn connect(windows: Windows) -> Self {
        let lookup = iroh::address_lookup::memory::MemoryLookup::new();
        let dialer = node::bind_for(&lookup, windows, ALPN).await;
        let acceptor = node::bind_for(&lookup, windows, ALPN).await;
        let accept = async {
            let incoming = acceptor.accept().await.expect("the endpoint is open");
            incoming.await.expect("a handshake")
        };
        let (dialed, accepted) = tokio::join!(dialer.connect(acceptor.id(), ALPN), accept);
        Self {
            dialed: dialed.expect("a connection"),
            endpoints: [dialer, acceptor],
            accepted,
        }
    }

    pub(crate) async fn close(self) {
        self.dialed.close(0u32.into(), b"done");
        for endpoint in &self.endpoints {
            endpoint.close().await;
        }
    }
}

/// Writes frames in batches.
pub(crate) struct Writer {
    stream: SendStream,
    batch: BytesMut,
    seen: Option<Seen>,
}

impl Writer {
    pub(crate) fn new(stream: SendStream, floor: bool) -> Self {
        Self {
            stream,
            batch: BytesMut::new(),
            seen: floor.then(Seen::default),
        }
    }

    /// Whether nothing more should be added before a write.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH_BYTES
    }

    /// Adds a frame.
    pub(crate) fn push(&mut self, content: &[u8]) {
        if let Some(seen) = &mut self.seen {
            seen.insert(content);
        }
        self.batch.put_u32(content.len() as u32);
        self.batch.put_slice(content);
    }

    /// Writes what was added.
    pub(crate) async fn write(&mut self) {
        let batch = self.batch.split().freeze();
        let written = self.stream.write_chunk(batch).await;
        written.expect("the peer reads");
    }
}

/// Reads frames.
pub(crate) struct Reader {
    stream: RecvStream,
    chunks: [Bytes; CHUNKS],
    /// The beginning of a frame that the last read cut.
    cut: BytesMut,
    seen: Option<Seen>,
}

impl Reader {
    pub(crate) fn new(stream: RecvStream, floor: bool) -> Self {
        Self {
            stream,
            chunks: [const { Bytes::new() }; CHUNKS],
            cut: BytesMut::new(),
            seen: floor.then(Seen::default),
        }
    }

    /// Waits for data, and hands on every whole frame in it. `false` at the end of the stream.
    pub(crate) async fn read(&mut self, mut frame: impl FnMut(&[u8])) -> bool {
        let Ok(Some(count)) = self.stream.read_many_chunks(&mut self.chunks).await else {
            return false;
        };
        let seen = &mut self.seen;
        let mut take = |content: &[u8]| {
            if seen.as_mut().is_none_or(|seen| seen.insert(content)) {
                frame(content);
            }
        };
        for chunk in &self.chunks[..count] {
            let mut rest = &chunk[..];
            while !self.cut.is_empty() && !rest.is_empty() {
                // Byte by byte up to the length, then all that is missing.
                let wanted = match length(&self.cut) {
                    Some(len) => 4 + len - self.cut.len(),
                    None => 1,
                };
                let (more, left) = rest.split_at(wanted.min(rest.len()));
                self.cut.put_slice(more);
                rest = left;
                if length(&self.cut).is_some_and(|len| self.cut.len() == 4 + len) {
                    take(&self.cut[4..]);
                    self.cut.clear();
                }
            }
            while let Some(len) = length(rest)
                && let Some(content) = rest.get(4..4 + len)
            {
                take(content);
                rest = &rest[4 + len..];
            }
            self.cut.put_slice(rest);
        }
        true
    }
}

fn length(frame: &[u8]) -> Option<usize> {
    let bytes = frame.first_chunk()?;
    Some(u32::from_be_bytes(*bytes) as usize)
}

/// The ids of messages.
#[derive(Default)]
struct Seen {
    ids: HashSet<[u8; 32], BuildHasherDefault<FirstBytes>>,
}

impl Seen {
    /// Hashes and remembers; says whether it is new.
    fn insert(&mut self, content: &[u8]) -> bool {
        if self.ids.len() == SEEN {
            self.ids.clear();
        }
        self.ids.insert(*blake3::hash(content).as_bytes())
    }
}

/// Takes a hash for its own hash.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .first_chunk()
            .map_or(self.0, |bytes| u64::from_le_bytes(*bytes));
    }

    fn write_usize(&mut self, _length: usize) {}
}
