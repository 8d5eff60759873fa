//! Numbers as postcard writes them: seven bits a byte, the least significant first, the top bit
//! set on all bytes but the last.

use std::ops::Range;

use bytes::BufMut;

use super::DecodeError;

/// How many bytes `value` takes.
pub(super) fn encoded_len(value: usize) -> usize {
    let bits = (usize::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// Writes `value`.
#[inline]
pub(super) fn encode(mut value: usize, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Reads a body from its start to its end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// Reads what comes behind `begin`, if that is how the body begins.
    #[inline]
    pub(super) fn behind(begin: &[u8], body: &'a [u8]) -> Option<Self> {
        let at = begin.len();
        body.starts_with(begin).then_some(Self { body, at })
    }

    /// What has not been read yet.
    #[inline]
    pub(super) fn remaining(&self) -> &'a [u8] {
        // Invariant: `at <= body.len()`.
        &self.body[self.at..]
    }

    #[inline]
    pub(super) fn read_u8(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.body.get(self.at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn read_u16(&mut self) -> Result<u16, DecodeError> {
        self.read_varint(u16::BITS).map(|value| value as u16)
    }

    #[inline]
    pub(super) fn read_u32(&mut self) -> Result<u32, DecodeError> {
        self.read_varint(u32::BITS).map(|value| value as u32)
    }

    /// Reads a length or a count. Nothing may be allocated on its word alone.
    #[inline]
    pub(super) fn read_usize(&mut self) -> Result<usize, DecodeError> {
        self.read_varint(usize::BITS).map(|value| value as usize)
    }

    /// Copies 32 bytes out.
    #[inline]
    pub(super) fn read_id(&mut self) -> Result<[u8; 32], DecodeError> {
        let id = *self
            .remaining()
            .first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.at += id.len();
        Ok(id)
    }

    /// Passes over `len` bytes, and says where they are.
    #[inline]
    pub(super) fn skip(&mut self, len: usize) -> Result<Range<usize>, DecodeError> {
        if len > self.remaining().len() {
            return Err(DecodeError::Truncated);
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    /// Reads a number of at most `bits` bits.
    ///
    /// As postcard does, this accepts a number that is written longer than it need be, as long as
    /// it takes no more bytes than the largest of its type.
    #[inline]
    fn read_varint(&mut self, bits: u32) -> Result<u64, DecodeError> {
        match self.body.get(self.at) {
            Some(byte @ 0..0x80) => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            Some(_) | None => self.read_long_varint(bits),
        }
    }

    #[inline(never)]
    fn read_long_varint(&mut self, bits: u32) -> Result<u64, DecodeError> {
        let mut value = 0;
        let mut shift = 0;
        while shift < bits {
            let byte = self.read_u8()?;
            let part = u64::from(byte & 0x7f);
            let room = bits - shift;
            if room < 7 && part >> room != 0 {
                return Err(DecodeError::Number);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(DecodeError::Number)
    }
}
