//! Messages of the broadcast layer, by hand.

use std::ops::Range;

use bytes::{BufMut, Bytes};

use crate::proto::{
    MessageId,
    plumtree::{DeliveryScope, Gossip, Graft, IHave, IHaves, Message, Round},
};

use super::{
    DecodeError,
    varint::{self, Reader},
};

const ID: usize = 32;

/// What stands before a payload.
pub(super) const PAYLOAD: u8 = 0;

/// The most that stands around a content: the kind, the id, the length, the scope and the round.
#[cfg(feature = "net")]
pub(super) const MOST_AROUND: usize = 1 + ID + 10 + 1 + 3;

/// The shortest announcement: an id, and a round of one byte.
const MIN_IHAVE: usize = ID + 1;

pub(super) fn encoded_len(message: &Message) -> usize {
    let fields = match message {
        Message::Gossip(gossip) => return payload_len(gossip),
        Message::Prune => 0,
        Message::Graft(Graft { id, round }) => 1 + id.map_or(0, |_| ID) + round_len(*round),
        Message::IHave(announced) => {
            let entries: usize = announced
                .iter()
                .map(|IHave { id: _, round }| ID + round_len(*round))
                .sum();
            varint::encoded_len(announced.len()) + entries
        }
    };
    1 + fields
}

/// The same of a payload.
pub(super) fn payload_len(gossip: &Gossip) -> usize {
    let Gossip {
        id: _,
        content,
        scope,
    } = gossip;
    let scope = match scope {
        DeliveryScope::Swarm(round) => 1 + round_len(*round),
        DeliveryScope::Neighbors => 1,
    };
    1 + ID + varint::encoded_len(content.len()) + content.len() + scope
}

pub(super) fn encode(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Gossip(gossip) => {
            encode_head(gossip, out);
            out.extend_from_slice(&gossip.content);
            encode_tail(gossip, out);
        }
        Message::Prune => out.push(1),
        Message::Graft(Graft { id, round }) => {
            out.push(2);
            match id {
                Some(id) => {
                    out.push(1);
                    out.extend_from_slice(id.as_bytes());
                }
                None => out.push(0),
            }
            encode_round(*round, out);
        }
        Message::IHave(announced) => {
            out.push(3);
            varint::encode(announced.len(), out);
            for IHave { id, round } in announced {
                out.extend_from_slice(id.as_bytes());
                encode_round(*round, out);
            }
        }
    }
}

/// What stands before the content of a payload.
#[inline]
pub(super) fn encode_head(gossip: &Gossip, out: &mut impl BufMut) {
    out.put_u8(PAYLOAD);
    out.put_slice(gossip.id.as_bytes());
    varint::encode(gossip.content.len(), out);
}

/// What stands behind it.
#[inline]
pub(super) fn encode_tail(gossip: &Gossip, out: &mut impl BufMut) {
    match gossip.scope {
        DeliveryScope::Swarm(round) => {
            out.put_u8(0);
            encode_round(round, out);
        }
        DeliveryScope::Neighbors => out.put_u8(1),
    }
}

/// Reads a message, but for the content of a payload: that is left empty, and said where it is.
pub(super) fn decode(reader: &mut Reader<'_>) -> Result<(Message, Range<usize>), DecodeError> {
    let mut content = 0..0;
    let message = decode_around(reader, &mut content)?;
    Ok((message, content))
}

fn decode_around(
    reader: &mut Reader<'_>,
    content: &mut Range<usize>,
) -> Result<Message, DecodeError> {
    match reader.read_u32()? {
        0 => {
            let (gossip, range) = decode_payload(reader)?;
            *content = range;
            Ok(Message::Gossip(gossip))
        }
        1 => Ok(Message::Prune),
        2 => {
            let id = match reader.read_u8()? {
                0 => None,
                1 => Some(MessageId::from_bytes(reader.read_id()?)),
                _ => return Err(DecodeError::Flag),
            };
            let round = decode_round(reader)?;
            Ok(Message::Graft(Graft { id, round }))
        }
        3 => {
            let count = reader.read_usize()?;
            let at_most = reader.remaining().len() / MIN_IHAVE;
            let mut announced = IHaves::with_capacity(count.min(at_most));
            for _ in 0..count {
                let id = MessageId::from_bytes(reader.read_id()?);
                let round = decode_round(reader)?;
                announced.push(IHave { id, round });
            }
            Ok(Message::IHave(announced))
        }
        _ => Err(DecodeError::Invalid),
    }
}

/// Reads what follows the kind of a payload, but for the content: that is left empty, and said where it is.
#[inline]
pub(super) fn decode_payload(
    reader: &mut Reader<'_>,
) -> Result<(Gossip, Range<usize>), DecodeError> {
    let id = MessageId::from_bytes(reader.read_id()?);
    let len = reader.read_usize()?;
    let range = reader.skip(len)?;
    let scope = match reader.read_u32()? {
        0 => DeliveryScope::Swarm(decode_round(reader)?),
        1 => DeliveryScope::Neighbors,
        _ => return Err(DecodeError::Invalid),
    };
    let content = Bytes::new();
    Ok((Gossip { id, content, scope }, range))
}

fn round_len(round: Round) -> usize {
    varint::encoded_len(round.hops().into())
}

#[inline]
fn encode_round(round: Round, out: &mut impl BufMut) {
    varint::encode(round.hops().into(), out);
}

#[inline]
fn decode_round(reader: &mut Reader<'_>) -> Result<Round, DecodeError> {
    reader.read_u16().map(Round::from)
}
