//! Peers as the protocol sees them: an identity, and opaque data that says how to reach them.

use std::{fmt, hash::Hash};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What identifies a peer. It travels in messages, so all nodes of a swarm must use the same type.
///
/// The network layer uses iroh's public key; the simulator uses small integers.
pub trait PeerIdentity:
    Hash + Eq + Ord + Copy + fmt::Debug + Serialize + DeserializeOwned + Send + 'static
{
}

impl<T> PeerIdentity for T where
    T: Hash + Eq + Ord + Copy + fmt::Debug + Serialize + DeserializeOwned + Send + 'static
{
}

/// Whether two identities are the same. By their order: keys are compared for equality in constant
/// time, which takes many times as long, and who is in whose view is no secret.
pub(crate) fn is_same<PI: Ord>(one: &PI, other: &PI) -> bool {
    one.cmp(other).is_eq()
}

/// Whether an identity is one of some. Of numbers many are compared at once, and it is quickest to look at
/// all; of keys one after the other.
pub(crate) fn is_among<PI: Ord>(id: &PI, some: &[PI]) -> bool {
    if size_of::<PI>() <= size_of::<u64>() {
        some.iter().fold(false, |any, one| any | is_same(one, id))
    } else {
        some.iter().any(|one| is_same(one, id))
    }
}

/// Opaque bytes that introduce a peer: to the protocol just cargo, to the network layer addresses.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerData(Bytes);

impl PeerData {
    /// Wraps bytes. Empty bytes say that nothing is known.
    ///
    /// ```
    /// # use smol_gossip::proto::PeerData;
    /// let data = PeerData::new(vec![1, 2]);
    /// assert_eq!(data.as_bytes(), [1, 2]);
    /// ```
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self(data.into())
    }

    /// The bytes, shared.
    ///
    /// ```
    /// # use smol_gossip::proto::PeerData;
    /// let shared: bytes::Bytes = PeerData::new("address").inner().clone();
    /// assert_eq!(shared, "address");
    /// ```
    pub fn inner(&self) -> &Bytes {
        &self.0
    }

    /// The bytes.
    ///
    /// ```
    /// # use smol_gossip::proto::PeerData;
    /// assert!(PeerData::default().as_bytes().is_empty());
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PeerData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerData({} bytes)", self.0.len())
    }
}

/// A peer as it is introduced to others: who, and how to reach it where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo<PI> {
    /// Who.
    pub id: PI,
    /// How to reach it; `None` when the introducer does not know.
    pub data: Option<PeerData>,
}
