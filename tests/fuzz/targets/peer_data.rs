//! Addresses out of peer data, and into it again.

use smol_gossip::{net::testing, proto::PeerData};

pub fn run(data: &[u8]) {
    let peer = iroh::SecretKey::from_bytes(&[7; 32]).public();
    let data = PeerData::new(data.to_vec());
    let Some(addr) = testing::addresses(peer, &data) else {
        return;
    };
    assert_eq!(addr.id, peer);
    assert!(addr.ip_addrs().count() <= 16, "{addr:?}");
    assert!(addr.relay_urls().count() <= 1, "{addr:?}");
    let again = testing::peer_data(addr.clone());
    assert_eq!(testing::addresses(peer, &again), Some(addr));
}
