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
//! # What it does not do
//!
//! Nothing is encrypted. There is no order and no protection against replay: whoever has a message
//! can send it into the same topic again later, when the swarm has forgotten that it saw it. Put
//! a counter or a time into the payload where that matters. Whom to trust is the application's to
//! decide: anyone can make a key.
//!
//! # The envelope
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 32 | the author's public key |
//! | 64 | signature |
//! | the rest | payload |
//!
//! The signature is over the text `smol-gossip/signed/1`, the topic (32 bytes), the author's
//! public key (32 bytes), the length of the payload (8 bytes, big-endian) and the payload.
//!
//! There is no freedom in this form, such as a number that can be written in two ways. Nobody but
//! the author can turn a valid envelope into another valid one with the same meaning, which the
//! protocol would take for a new message; and the same signer makes the same envelope of the same
//! payload each time.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::proto::TopicId;

/// How many bytes an envelope is longer than its payload.
pub const OVERHEAD: usize = VERSION_LEN + KEY_LEN + SIGNATURE_LEN;

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"smol-gossip/signed/1";

const VERSION_LEN: usize = 1;
const KEY_LEN: usize = ed25519_dalek::PUBLIC_KEY_LENGTH;
const SIGNATURE_LEN: usize = ed25519_dalek::SIGNATURE_LENGTH;

/// Who wrote a message: an ed25519 public key.
///
/// It is shown and ordered as its 32 bytes. An `Author` is no more than a name until it comes out
/// of a [`SignedMessage`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author([u8; KEY_LEN]);

impl Author {
    /// Names the author with this public key. The bytes are not checked.
    pub const fn from_bytes(key: [u8; KEY_LEN]) -> Self {
        Self(key)
    }

    /// The public key.
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
    pub fn from_bytes(secret_key: &[u8; ed25519_dalek::SECRET_KEY_LENGTH]) -> Self {
        Self::from(SigningKey::from_bytes(secret_key))
    }

    /// Under whose name this signs.
    pub fn author(&self) -> Author {
        self.key.verifying_key().into()
    }

    /// Wraps `payload` in an envelope for `topic`, [`OVERHEAD`] bytes longer.
    pub fn sign(&self, topic: TopicId, payload: &[u8]) -> Bytes {
        let author = self.author();
        let signature = self.key.sign(&signed_bytes(topic, author, payload));
        let mut envelope = BytesMut::with_capacity(OVERHEAD + payload.len());
        envelope.put_u8(VERSION);
        envelope.put_slice(author.as_bytes());
        envelope.put_slice(&signature.to_bytes());
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
    #[debug("{} bytes", payload.len())]
    payload: Bytes,
}

impl SignedMessage {
    /// Opens an envelope that came in `topic`. The payload shares the envelope's memory.
    ///
    /// The check is strict: keys of small order and other forms of a signature than the author's
    /// own are refused.
    ///
    /// # Errors
    ///
    /// When this is not an envelope, or not one that its author signed for this topic. What is
    /// unsigned, forged or damaged is best ignored: `delivered_from` may have passed it on without
    /// looking.
    pub fn verify(topic: TopicId, envelope: &Bytes) -> Result<Self, VerifyError> {
        let too_short = VerifyError::TooShort {
            len: envelope.len(),
        };
        let (&version, rest) = envelope.split_first().ok_or(too_short)?;
        if version != VERSION {
            return Err(VerifyError::UnknownVersion { version });
        }
        let (author, rest) = rest.split_first_chunk::<KEY_LEN>().ok_or(too_short)?;
        let (signature, payload) = rest.split_first_chunk::<SIGNATURE_LEN>().ok_or(too_short)?;
        let key = VerifyingKey::from_bytes(author).map_err(|_| VerifyError::InvalidAuthor)?;
        let author = Author(*author);
        key.verify_strict(
            &signed_bytes(topic, author, payload),
            &Signature::from_bytes(signature),
        )
        .map_err(|_| VerifyError::BadSignature)?;
        Ok(Self {
            author,
            payload: envelope.slice(OVERHEAD..),
        })
    }

    /// Who wrote it.
    pub fn author(&self) -> Author {
        self.author
    }

    /// What was signed.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What was signed.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }
}

/// Why an envelope was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is too short to be an envelope.
    #[display("{len} bytes are too few for a signed message, which has at least {OVERHEAD}")]
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

/// What the signature is over. All before the payload has a fixed length, so that no two messages
/// can have the same bytes here.
fn signed_bytes(topic: TopicId, author: Author, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u64).to_be_bytes();
    [DOMAIN, topic.as_bytes(), author.as_bytes(), &len, payload].concat()
}

#[cfg(test)]
mod tests;
