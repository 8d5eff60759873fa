//! Identifiers: of topics and messages, 32 bytes each, and of connections.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! id_bytes {
    ($name:ident) => {
        impl $name {
            /// Wraps 32 bytes.
            ///
            /// ```
            #[doc = concat!("# use smol_gossip::proto::", stringify!($name), ";")]
            #[doc = concat!("let id = ", stringify!($name), "::from_bytes([7; 32]);")]
            /// assert_eq!(id, [7; 32].into());
            /// ```
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            ///
            /// ```
            #[doc = concat!("# use smol_gossip::proto::", stringify!($name), ";")]
            #[doc = concat!("let id = ", stringify!($name), "::from_bytes([7; 32]);")]
            /// assert_eq!(id.as_bytes(), &[7; 32]);
            /// ```
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl<T: Into<[u8; 32]>> From<T> for $name {
            fn from(bytes: T) -> Self {
                Self(bytes.into())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl AsRef<[u8; 32]> for $name {
            fn as_ref(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = hex::FromHexError;

            /// Parses 64 hexadecimal digits, in either case.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

/// The name of a topic: 32 bytes that everyone who wants to meet there agrees on.
///
/// Topics are independent swarms. A common way to a topic is a hash of its name:
///
/// ```
/// # use smol_gossip::proto::TopicId;
/// let topic: TopicId = blake3::hash(b"weather").into();
/// assert_eq!(topic.to_string().parse(), Ok(topic));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId([u8; 32]);
id_bytes!(TopicId);

impl TopicId {
    /// The first five bytes in hexadecimal, for people and logs.
    ///
    /// ```
    /// # use smol_gossip::proto::TopicId;
    /// assert_eq!(TopicId::from_bytes([7; 32]).fmt_short(), "0707070707");
    /// ```
    pub fn fmt_short(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..5])
    }
}

/// The identifier of a message: the blake3 hash of its content.
///
/// Two messages with equal content are the same message to the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId([u8; 32]);
id_bytes!(MessageId);

impl MessageId {
    /// Hashes `content`.
    ///
    /// ```
    /// # use smol_gossip::proto::MessageId;
    /// let id = MessageId::from_content(b"it rains");
    /// assert_eq!(id, blake3::hash(b"it rains").into());
    /// ```
    pub fn from_content(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

/// Tells one connection to a peer from an earlier one.
///
/// The caller numbers connections in the order in which they open, over all peers. The protocol
/// compares them: a Join that comes over a younger connection than the one a neighbor was made on
/// means that the neighbor has started anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);
