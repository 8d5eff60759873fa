//! Frames as they were read, before anyone has looked into them.

use bytes::Bytes;

use super::blocks::SHARING;
use crate::proto::wire;

/// How much is taken at a time, and how much of that is left.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

impl Portion {
    pub(crate) fn is_used_up(&self) -> bool {
        self.frames == 0 || self.bytes == 0
    }

    /// Counts a frame.
    ///
    /// A message about membership is the last that is taken, since the keys in it are long work: what it costs
    /// is charged before the next one is decoded.
    pub(crate) fn count(&mut self, body: &[u8]) {
        self.frames -= 1;
        self.bytes = self.bytes.saturating_sub(body.len());
        if wire::is_membership(body) {
            self.frames = 0;
        }
    }
}

/// One frame, or several that follow each other. They may hold all that was read with them.
#[derive(Debug)]
pub(crate) enum Frames {
    /// The body of one. Where it is larger than what shares blocks, it has memory of its own.
    One(Bytes),
    /// Small ones, each behind its length.
    Run(Bytes),
}

impl Frames {
    /// Takes small frames out of a chunk that lies between frames, as far as they are whole. The others, and one
    /// that is too large to be accepted, are left to the parser.
    pub(crate) fn run(
        chunk: &mut Bytes,
        max_message_size: usize,
        portion: &mut Portion,
    ) -> Option<Self> {
        let mut end = 0;
        while !portion.is_used_up()
            && let Some((prefix, rest)) = chunk[end..].split_first_chunk()
            && let len = u32::from_be_bytes(*prefix) as usize
            && len <= SHARING.min(max_message_size)
            && let Some(body) = rest.get(..len)
        {
            portion.count(body);
            end += prefix.len() + len;
        }
        (end > 0).then(|| Self::Run(chunk.split_to(end)))
    }

    /// The bodies of the frames.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let (mut one, mut run) = match self {
            Self::One(body) => (Some(&body[..]), &[][..]),
            Self::Run(run) => (None, &run[..]),
        };
        std::iter::from_fn(move || {
            if let Some(body) = one.take() {
                return Some(body);
            }
            let (prefix, rest) = run.split_first_chunk()?;
            // There are whole frames only.
            let (body, rest) = rest.split_at_checked(u32::from_be_bytes(*prefix) as usize)?;
            run = rest;
            Some(body)
        })
    }

    /// A content that is part of a body, to be kept: a large one holds its frame and nothing else, any other is copied.
    pub(crate) fn share(&self, content: &[u8]) -> Bytes {
        match self {
            Self::One(body) if content.len() > SHARING => body.slice_ref(content),
            Self::One(_) | Self::Run(_) => Bytes::copy_from_slice(content),
        }
    }
}
