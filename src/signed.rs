//! Messages that prove who wrote them.
//!
//! A message of the protocol says who handed it over, not who wrote it, and anyone in a topic can
//! send anything. [`Signer::sign`] wraps a payload in an envelope with its author's ed25519
//! signature, and [`SignedMessage::verify`] opens it at the other end. A message is bound to its
//! author and to its topic: it cannot be passed off as someone else's, nor moved elsewhere.
//!
//! ```
//! use smol_gossip::{
//!     TopicId,
//!     signed::{SignedMessage, Signer},
//! };
//!
//! let topic = TopicId::from_bytes([7; 32]);
//! let signer = Signer::from_bytes(&[1; 32]);
//! let envelope = signer.sign(topic, b"it rains"); // to be broadcast
//!
//! let message = SignedMessage::verify(topic, &envelope)?;
//! assert_eq!(message.author(), signer.author());
//! assert_eq!(&message.payload()[..], b"it rains");
//! # Ok::<(), smol_gossip::signed::VerifyError>(())
//! ```
//!
//! # Messages that are sent again
//!
//! Whoever has a message can send it into the same topic again later, when the swarm has forgotten
//! that it saw it. [`Signer::sign_stamped`] puts a [`Stamp`] into the envelope, which is time and
//! number at once, and a [`ReplayGuard`] accepts every stamped message once. A [`SignedTopic`] is
//! a subscription that does all this, and yields only what is verified and new.
//!
//! # What it does not do
//!
//! Nothing is encrypted, and nothing is put in order: stamps say in which order an author wrote,
//! and messages come as they come. Whom to trust is the application's to decide: anyone can make a
//! key.
//!
//! # The envelope
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version: 1, or 2 with a stamp |
//! | 32 | the author's public key |
//! | 64 | signature |
//! | 8 | in version 2, the stamp: microseconds since 1970, big-endian |
//! | the rest | payload |
//!
//! The signature is over the text `smol-gossip/signed/1` (or `2`), the topic (32 bytes), the
//! author's public key (32 bytes), in version 2 the stamp (8 bytes, as above), the length of the
//! payload (8 bytes, big-endian) and the payload.
//!
//! There is no freedom in this form, such as a number that can be written in two ways. Nobody but
//! the author can turn a valid envelope into another valid one with the same meaning, which the
//! protocol would take for a new message; and the same signer makes the same envelope of the same
//! payload (and stamp) each time.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::proto::TopicId;

#[cfg(any(feature = "net", feature = "rpc"))]
mod receiver;
mod replay;
#[cfg(any(feature = "net", feature = "rpc"))]
mod sent;
#[cfg(any(feature = "net", feature = "rpc"))]
mod topic;

#[cfg(any(feature = "net", feature = "rpc"))]
pub use receiver::{Received, Refused, SignedEvent, SignedReceiver};
pub use replay::{Replay, ReplayGuard, ReplayLimits, Stamp};
#[cfg(any(feature = "net", feature = "rpc"))]
pub use topic::{SignedSender, SignedTopic};

/// How many bytes an envelope without a stamp is longer than its payload.
pub const OVERHEAD: usize = VERSION_LEN + KEY_LEN + SIGNATURE_LEN;

/// How many bytes an envelope with a stamp is longer than its payload.
pub const STAMPED_OVERHEAD: usize = OVERHEAD + STAMP_LEN;

const VERSION: u8 = 1;
const STAMPED_VERSION: u8 = 2;
const DOMAIN: &[u8] = b"smol-gossip/signed/1";
const STAMPED_DOMAIN: &[u8] = b"smol-gossip/signed/2";

const VERSION_LEN: usize = 1;
const KEY_LEN: usize = ed25519_dalek::PUBLIC_KEY_LENGTH;
const SIGNATURE_LEN: usize = ed25519_dalek::SIGNATURE_LENGTH;
const STAMP_LEN: usize = size_of::<u64>();

/// From how many messages on they are verified together: then it takes at the most two thirds of
/// the time.
const SMALLEST_BATCH: usize = 4;

/// How many messages are verified together at the most. It takes half of the time from 8 on, and
/// more than 16 make it no faster.
const LARGEST_BATCH: usize = 16;

/// Who wrote a message: an ed25519 public key.
///
/// It is shown and ordered as its 32 bytes. An `Author` is no more than a name until it comes out
/// of a [`SignedMessage`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author([u8; KEY_LEN]);

impl Author {
    /// Names the author with this public key. The bytes are not checked.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let author = Author::from_bytes([3; 32]);
    /// assert_eq!(author.as_bytes(), &[3; 32]);
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub const fn from_bytes(key: [u8; KEY_LEN]) -> Self {
        Self(key)
    }

    /// The public key.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// assert_eq!(signer.author().as_bytes().len(), 32);
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Author({self})")
    }
}

impl From<VerifyingKey> for Author {
    fn from(key: VerifyingKey) -> Self {
        Self(key.to_bytes())
    }
}

/// Nodes can be authors: their keys are of the same kind.
#[cfg(feature = "net")]
impl From<iroh_base::EndpointId> for Author {
    fn from(id: iroh_base::EndpointId) -> Self {
        Self(*id.as_bytes())
    }
}

/// Fails when the bytes are no public key, which those of a verified message always are.
#[cfg(feature = "net")]
impl TryFrom<Author> for iroh_base::EndpointId {
    type Error = iroh_base::KeyParsingError;

    fn try_from(author: Author) -> Result<Self, Self::Error> {
        Self::from_bytes(&author.0)
    }
}

/// Signs messages with one author's secret key.
///
/// A node can sign with its own key (`Signer::from(&secret_key)`, feature `net`), or an
/// application with one that it keeps for its user.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
}

impl Signer {
    /// Signs with this secret key.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let same = Signer::from_bytes(&[1; 32]);
    /// assert_eq!(same.author(), signer.author());
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn from_bytes(secret_key: &[u8; ed25519_dalek::SECRET_KEY_LENGTH]) -> Self {
        Self::from(SigningKey::from_bytes(secret_key))
    }

    /// Under whose name this signs.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// println!("{}", signer.author());
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn author(&self) -> Author {
        self.key.verifying_key().into()
    }

    /// Wraps `payload` in an envelope for `topic`, [`OVERHEAD`] bytes longer.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let envelope = signer.sign(topic, b"it rains");
    /// assert_eq!(envelope.len(), 8 + smol_gossip::signed::OVERHEAD);
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn sign(&self, topic: TopicId, payload: &[u8]) -> Bytes {
        self.seal(topic, None, payload)
    }

    /// Wraps `payload` in an envelope with a stamp, [`STAMPED_OVERHEAD`] bytes longer.
    ///
    /// No two messages of an author should have the same stamp, and later ones a larger one; else
    /// a [`ReplayGuard`] refuses them. A [`SignedSender`](crate::signed) sees to that by itself.
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use smol_gossip::{TopicId, signed::{SignedMessage, Signer, Stamp}};
    /// let topic = TopicId::from_bytes([7; 32]);
    /// let signer = Signer::from_bytes(&[1; 32]);
    /// let stamp = Stamp::from_system_time(SystemTime::now());
    /// let envelope = signer.sign_stamped(topic, stamp, b"it rains");
    /// assert_eq!(SignedMessage::verify(topic, &envelope)?.stamp(), Some(stamp));
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn sign_stamped(&self, topic: TopicId, stamp: Stamp, payload: &[u8]) -> Bytes {
        self.seal(topic, Some(stamp), payload)
    }

    fn seal(&self, topic: TopicId, stamp: Option<Stamp>, payload: &[u8]) -> Bytes {
        let author = self.author();
        let signature = self.key.sign(&signed_bytes(topic, author, stamp, payload));
        let mut envelope = BytesMut::with_capacity(STAMPED_OVERHEAD + payload.len());
        envelope.put_u8(match stamp {
            None => VERSION,
            Some(_) => STAMPED_VERSION,
        });
        envelope.put_slice(author.as_bytes());
        envelope.put_slice(&signature.to_bytes());
        if let Some(stamp) = stamp {
            envelope.put_u64(stamp.micros());
        }
        envelope.put_slice(payload);
        envelope.freeze()
    }
}

/// Shows the author and not the secret key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("author", &self.author())
            .finish_non_exhaustive()
    }
}

impl From<SigningKey> for Signer {
    fn from(key: SigningKey) -> Self {
        Self { key }
    }
}

#[cfg(feature = "net")]
impl From<&iroh_base::SecretKey> for Signer {
    fn from(key: &iroh_base::SecretKey) -> Self {
        Self::from_bytes(&key.to_bytes())
    }
}

/// A message whose author is proven.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
pub struct SignedMessage {
    author: Author,
    stamp: Option<Stamp>,
    #[debug("{} bytes", payload.len())]
    payload: Bytes,
}

impl SignedMessage {
    /// Opens an envelope that came in `topic`. The payload shares the envelope's memory.
    ///
    /// The check is strict: keys of small order and other forms of a signature than the author's
    /// own are refused.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let envelope = signer.sign(topic, b"it rains");
    /// let message = SignedMessage::verify(topic, &envelope)?;
    /// assert_eq!(&message.payload()[..], b"it rains");
    /// assert!(SignedMessage::verify(TopicId::from_bytes([8; 32]), &envelope).is_err());
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When this is not an envelope, or not one that its author signed for this topic. What is
    /// unsigned, forged or damaged is best ignored: `delivered_from` may have passed it on without
    /// looking.
    pub fn verify(topic: TopicId, envelope: &Bytes) -> Result<Self, VerifyError> {
        Claim::read(envelope)?.prove(topic)
    }

    /// Opens many envelopes, in about half of the time where there are eight or more. The answers
    /// are in the order of the envelopes.
    ///
    /// Nobody can make a message of another author that passes here, and nobody can make another
    /// form of a message. An author, though, can make a signature that [`verify`](Self::verify)
    /// refuses and this accepts, or now accepts and now refuses: the equation that is checked for
    /// many at once does not tell points that differ by one of small order. Where all receivers
    /// have to come to the same verdict on authors who cheat, verify messages one by one.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{SignedMessage, Signer}};
    /// let topic = TopicId::from_bytes([7; 32]);
    /// let signer = Signer::from_bytes(&[1; 32]);
    /// let envelopes: Vec<_> = (0..10u8).map(|n| signer.sign(topic, &[n])).collect();
    /// let messages = SignedMessage::verify_batch(topic, &envelopes);
    /// assert!(messages.iter().all(|message| message.is_ok()));
    /// ```
    ///
    /// # Errors
    ///
    /// For each envelope, as [`verify`](Self::verify).
    pub fn verify_batch(topic: TopicId, envelopes: &[Bytes]) -> Vec<Result<Self, VerifyError>> {
        let mut messages = Vec::with_capacity(envelopes.len());
        for batch in envelopes.chunks(LARGEST_BATCH) {
            let claims: Vec<_> = batch.iter().map(Claim::read).collect();
            let sound: Vec<&Claim> = claims.iter().flatten().collect();
            let proven = are_all_proven(topic, &sound);
            messages.extend(claims.into_iter().map(|claim| match (claim, proven) {
                (Ok(claim), true) => Ok(claim.message),
                (Ok(claim), false) => claim.prove(topic),
                (Err(error), _) => Err(error),
            }));
        }
        messages
    }

    /// Who wrote it.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let message = SignedMessage::verify(topic, &signer.sign(topic, b"it rains"))?;
    /// assert_eq!(message.author(), signer.author());
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn author(&self) -> Author {
        self.author
    }

    /// When it was signed, where the author said so, by the author's clock.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let stamp = Stamp::from_micros(1_700_000_000_000_000);
    /// let message = SignedMessage::verify(topic, &signer.sign_stamped(topic, stamp, b"it rains"))?;
    /// assert_eq!(message.stamp(), Some(stamp));
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// What was signed.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let message = SignedMessage::verify(topic, &signer.sign(topic, b"it rains"))?;
    /// assert_eq!(message.payload(), "it rains");
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What was signed.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, signed::{Author, SignedMessage, Signer, Stamp}};
    /// # let topic = TopicId::from_bytes([7; 32]);
    /// # let signer = Signer::from_bytes(&[1; 32]);
    /// let message = SignedMessage::verify(topic, &signer.sign(topic, b"it rains"))?;
    /// assert_eq!(message.into_payload(), "it rains");
    /// # Ok::<(), smol_gossip::signed::VerifyError>(())
    /// ```
    pub fn into_payload(self) -> Bytes {
        self.payload
    }
}

/// An envelope that has the right form, and what it would be if its signature is good.
#[derive(Clone, Debug)]
struct Claim {
    message: SignedMessage,
    key: VerifyingKey,
    signature: Signature,
}

impl Claim {
    fn read(envelope: &Bytes) -> Result<Self, VerifyError> {
        let too_short = VerifyError::TooShort {
            len: envelope.len(),
        };
        let (&version, rest) = envelope.split_first().ok_or(too_short)?;
        if ![VERSION, STAMPED_VERSION].contains(&version) {
            return Err(VerifyError::UnknownVersion { version });
        }
        let (author, rest) = rest.split_first_chunk::<KEY_LEN>().ok_or(too_short)?;
        let (signature, rest) = rest.split_first_chunk::<SIGNATURE_LEN>().ok_or(too_short)?;
        let (stamp, overhead) = match version {
            STAMPED_VERSION => {
                let stamp = rest.first_chunk::<STAMP_LEN>().ok_or(too_short)?;
                let stamp = Stamp::from_micros(u64::from_be_bytes(*stamp));
                (Some(stamp), STAMPED_OVERHEAD)
            }
            _ => (None, OVERHEAD),
        };
        let message = SignedMessage {
            author: Author(*author),
            stamp,
            payload: envelope.slice(overhead..),
        };
        Ok(Self {
            message,
            key: VerifyingKey::from_bytes(author).map_err(|_| VerifyError::InvalidAuthor)?,
            signature: Signature::from_bytes(signature),
        })
    }

    fn signed_bytes(&self, topic: TopicId) -> Vec<u8> {
        let SignedMessage {
            author,
            stamp,
            payload,
        } = &self.message;
        signed_bytes(topic, *author, *stamp, payload)
    }

    fn prove(self, topic: TopicId) -> Result<SignedMessage, VerifyError> {
        self.key
            .verify_strict(&self.signed_bytes(topic), &self.signature)
            .map_err(|_| VerifyError::BadSignature)?;
        Ok(self.message)
    }
}

/// Whether all signatures are good, checked together. `false` where that does not pay.
fn are_all_proven(topic: TopicId, claims: &[&Claim]) -> bool {
    if claims.len() < SMALLEST_BATCH || claims.iter().any(|claim| claim.key.is_weak()) {
        return false;
    }
    let signed: Vec<_> = claims
        .iter()
        .map(|claim| claim.signed_bytes(topic))
        .collect();
    let signed: Vec<_> = signed.iter().map(Vec::as_slice).collect();
    let signatures: Vec<_> = claims.iter().map(|claim| claim.signature).collect();
    let keys: Vec<_> = claims.iter().map(|claim| claim.key).collect();
    ed25519_dalek::verify_batch(&signed, &signatures, &keys).is_ok()
}

/// Why an envelope was refused. Nothing of it was used.
///
/// Nothing was remembered either: the same author can still be heard. A [`SignedTopic`] drops the message
/// and [counts](Refused) it, and the connection to the neighbor that passed it on stays as it is, since
/// that one need not have written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is too short to be an envelope.
    #[display(
        "{len} bytes are too few for a signed message, which has at least {OVERHEAD} (with a stamp, {STAMPED_OVERHEAD})"
    )]
    TooShort {
        /// How long it is, in bytes.
        len: usize,
    },
    /// It does not begin with a version that is known here: it was made by a later release, or is
    /// not an envelope at all.
    #[display("version {version} of signed messages is not known")]
    UnknownVersion {
        /// What it begins with.
        version: u8,
    },
    /// What should be the author's public key is none.
    #[display("the author is not a public key")]
    InvalidAuthor,
    /// The signature does not belong to this author, topic and payload.
    ///
    /// The message may have been changed, written by someone else or meant for another topic:
    /// these cannot be told apart.
    #[display("the author did not sign this message for this topic")]
    BadSignature,
}

impl std::error::Error for VerifyError {}

/// What the signature is over. All before the payload has a length that the text at the beginning
/// fixes, so that no two messages can have the same bytes here.
fn signed_bytes(topic: TopicId, author: Author, stamp: Option<Stamp>, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u64).to_be_bytes();
    let stamp = stamp.map(|stamp| stamp.micros().to_be_bytes());
    let (domain, stamp) = match &stamp {
        None => (DOMAIN, &[][..]),
        Some(stamp) => (STAMPED_DOMAIN, &stamp[..]),
    };
    let (topic, author) = (topic.as_bytes(), author.as_bytes());
    [domain, topic, author, stamp, &len, payload].concat()
}

#[cfg(test)]
mod tests;
