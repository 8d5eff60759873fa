//! Addresses as they travel in peer data.
//!
//! To the protocol, peer data is opaque; between nodes it is this: a relay and socket addresses,
//! in postcard. Empty peer data means that nothing is known.

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use iroh::{EndpointAddr, EndpointId, RelayUrl, TransportAddr};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

use crate::proto::PeerData;

/// Socket addresses that are kept of one peer. Further ones are left out, and counted.
pub(crate) const MAX_DIRECT_ADDRESSES: usize = 16;

/// How to reach a peer. The order of the fields is the wire format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct AddrInfo {
    relay_url: Option<RelayUrl>,
    direct_addresses: BTreeSet<SocketAddr>,
}

impl AddrInfo {
    /// The peer data that says this.
    pub(crate) fn encode(&self) -> PeerData {
        if *self == Self::default() {
            return PeerData::default();
        }
        // Writing to memory cannot fail, and postcard knows every type in here.
        PeerData::new(postcard::to_stdvec(self).unwrap_or_default())
    }

    /// What peer data says, and how many addresses were left out because there are too many.
    pub(crate) fn decode(data: &PeerData) -> Result<(Self, usize), postcard::Error> {
        if data.as_bytes().is_empty() {
            return Ok((Self::default(), 0));
        }
        let (relay_url, Addresses { kept, left_out }) = postcard::from_bytes(data.as_bytes())?;
        let info = Self {
            relay_url,
            direct_addresses: kept,
        };
        Ok((info, left_out))
    }

    /// The same for iroh.
    pub(crate) fn into_addr(self, id: EndpointId) -> EndpointAddr {
        let relay = self.relay_url.into_iter().map(TransportAddr::Relay);
        let direct = self.direct_addresses.into_iter().map(TransportAddr::Ip);
        EndpointAddr::from_parts(id, relay.chain(direct))
    }
}

impl From<EndpointAddr> for AddrInfo {
    fn from(addr: EndpointAddr) -> Self {
        Self {
            relay_url: addr.relay_urls().next().cloned(),
            direct_addresses: addr
                .ip_addrs()
                .copied()
                .take(MAX_DIRECT_ADDRESSES)
                .collect(),
        }
    }
}

/// The first addresses of as many as there are. The others take next to no time.
struct Addresses {
    kept: BTreeSet<SocketAddr>,
    left_out: usize,
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AddressesVisitor)
    }
}

struct AddressesVisitor;

impl<'de> Visitor<'de> for AddressesVisitor {
    type Value = Addresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("socket addresses")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Addresses, A::Error> {
        let mut addresses = Addresses {
            kept: BTreeSet::new(),
            left_out: 0,
        };
        while let Some(addr) = sequence.next_element()? {
            if addresses.kept.len() < MAX_DIRECT_ADDRESSES {
                addresses.kept.insert(addr);
            } else {
                addresses.left_out += 1;
            }
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> EndpointId {
        iroh::SecretKey::from_bytes(&[7; 32]).public()
    }

    #[test]
    fn round_trip() {
        let addr = EndpointAddr::new(id())
            .with_ip_addr("127.0.0.1:1".parse().unwrap())
            .with_ip_addr("[::1]:2".parse().unwrap())
            .with_relay_url("https://relay.example".parse().unwrap());
        let data = AddrInfo::from(addr.clone()).encode();
        let (info, left_out) = AddrInfo::decode(&data).unwrap();
        assert_eq!((info.into_addr(id()), left_out), (addr, 0));
    }

    #[test]
    fn nothing_known_is_empty() {
        let data = AddrInfo::from(EndpointAddr::new(id())).encode();
        assert!(data.as_bytes().is_empty());
        assert_eq!(AddrInfo::decode(&data), Ok((AddrInfo::default(), 0)));
    }

    #[test]
    fn addresses_are_bounded() {
        let info = AddrInfo {
            relay_url: None,
            direct_addresses: (1..100).map(|port| ([127, 0, 0, 1], port).into()).collect(),
        };
        let (decoded, left_out) = AddrInfo::decode(&info.encode()).unwrap();
        assert_eq!(decoded.direct_addresses.len(), MAX_DIRECT_ADDRESSES);
        assert_eq!(left_out, 99 - MAX_DIRECT_ADDRESSES);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(AddrInfo::decode(&PeerData::new(vec![9, 9, 9])).is_err());
    }
}
