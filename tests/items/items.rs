// Compiled against this crate and against upstream's: see `main.rs`.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display},
    hash::Hash,
    net::SocketAddr,
    ops::{Add, Deref, Sub},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use gossip::{api, metrics, net, proto};
use iroh::{
    Endpoint, EndpointId, PublicKey,
    endpoint::Connection,
    protocol::ProtocolHandler,
};
use serde::{Serialize, de::DeserializeOwned};

#[allow(dead_code)]
type Answer<T> = Result<T, api::ApiError>;

/// What can be sent to other threads and kept anywhere.
#[allow(dead_code)]
fn free<T: Send + Sync + Unpin + 'static>() {}

#[allow(dead_code)]
fn future<T>(_: impl Future<Output = T> + Send) {}

#[allow(dead_code)]
fn any<T>() -> T {
    unreachable!("never called")
}

items! {
    // The root.
    "ALPN" {
        const _: &[u8] = gossip::ALPN;
    }
    "Gossip" {
        let _: gossip::Gossip = any::<net::Gossip>();
    }
    "TopicId" {
        let _: gossip::TopicId = any::<proto::TopicId>();
    }

    // `net`.
    "net::GOSSIP_ALPN" {
        const _: &[u8] = net::GOSSIP_ALPN;
    }
    "net::ProtoEvent" {
        let _: net::ProtoEvent = any::<proto::Event<PublicKey>>();
    }
    "net::ProtoCommand" {
        let _: net::ProtoCommand = any::<proto::Command<PublicKey>>();
    }
    "net::Gossip" {
        fn traits<T: Debug + Clone + ProtocolHandler + Deref<Target = api::GossipApi>>() {}
        traits::<net::Gossip>();
        free::<net::Gossip>();
    }
    "net::Gossip::builder" {
        let _: fn() -> net::Builder = net::Gossip::builder;
    }
    "net::Gossip::max_message_size" {
        let _: fn(&net::Gossip) -> usize = net::Gossip::max_message_size;
    }
    "net::Gossip::handle_connection" {
        let connection: Connection = any();
        future::<Result<(), net::Error>>(any::<net::Gossip>().handle_connection(connection));
    }
    "net::Gossip::shutdown" {
        future::<Result<(), net::Error>>(any::<net::Gossip>().shutdown());
    }
    "net::Gossip::metrics" {
        let _: fn(&net::Gossip) -> &Arc<metrics::Metrics> = net::Gossip::metrics;
    }
    "net::Gossip::listen" {
        future::<()>(any::<net::Gossip>().listen(any::<noq::Endpoint>()));
    }
    "net::Builder" {
        fn traits<T: Debug + Clone>() {}
        traits::<net::Builder>();
        free::<net::Builder>();
    }
    "net::Builder::max_message_size" {
        let _: fn(net::Builder, usize) -> net::Builder = net::Builder::max_message_size;
    }
    "net::Builder::membership_config" {
        let _: fn(net::Builder, proto::HyparviewConfig) -> net::Builder =
            net::Builder::membership_config;
    }
    "net::Builder::broadcast_config" {
        let _: fn(net::Builder, proto::PlumtreeConfig) -> net::Builder =
            net::Builder::broadcast_config;
    }
    "net::Builder::alpn" {
        let _: net::Builder = any::<net::Builder>().alpn("text");
        let _: net::Builder = any::<net::Builder>().alpn(b"bytes");
        let _: net::Builder = any::<net::Builder>().alpn(vec![0u8]);
    }
    "net::Builder::spawn" {
        let _: fn(net::Builder, Endpoint) -> net::Gossip = net::Builder::spawn;
    }
    "net::Error" {
        free::<net::Error>();
        fn traits<T: std::error::Error + n0_error::StackError + Debug + Display>() {}
        traits::<net::Error>();
    }
    "net::Error::ActorDropped" {
        if let net::Error::ActorDropped { .. } = any() {}
        let _: net::Error = n0_error::e!(net::Error::ActorDropped);
    }

    // `api`.
    "api::ApiError" {
        free::<api::ApiError>();
        fn traits<T: std::error::Error + n0_error::StackError + Debug + Display>() {}
        traits::<api::ApiError>();
    }
    "api::ApiError::Rpc" {
        if let api::ApiError::Rpc { source, .. } = any() {
            let _: irpc::Error = source;
        }
    }
    "api::ApiError::Closed" {
        if let api::ApiError::Closed { .. } = any() {}
        let _: api::ApiError = n0_error::e!(api::ApiError::Closed);
    }
    "api::ApiError: From<irpc::Error>" {
        let _ = api::ApiError::from(any::<irpc::Error>());
    }
    "api::ApiError: From<irpc::channel::SendError>" {
        let _ = api::ApiError::from(any::<irpc::channel::SendError>());
    }
    "api::ApiError: From<irpc::channel::mpsc::RecvError>" {
        let _ = api::ApiError::from(any::<irpc::channel::mpsc::RecvError>());
    }
    "api::ApiError: From<irpc::channel::oneshot::RecvError>" {
        let _ = api::ApiError::from(any::<irpc::channel::oneshot::RecvError>());
    }
    "api::GossipApi" {
        fn traits<T: Debug + Clone>() {}
        traits::<api::GossipApi>();
        free::<api::GossipApi>();
    }
    "api::GossipApi::connect" {
        let _: fn(noq::Endpoint, SocketAddr) -> api::GossipApi = api::GossipApi::connect;
    }
    "api::GossipApi::subscribe" {
        let (api, topic, peers): (api::GossipApi, gossip::TopicId, Vec<EndpointId>) = any();
        future::<Answer<api::GossipTopic>>(api.subscribe(topic, peers));
    }
    "api::GossipApi::subscribe_and_join" {
        let (api, topic, peers): (api::GossipApi, gossip::TopicId, Vec<EndpointId>) = any();
        future::<Answer<api::GossipTopic>>(api.subscribe_and_join(topic, peers));
    }
    "api::GossipApi::subscribe_with_opts" {
        let (api, topic, options): (api::GossipApi, gossip::TopicId, api::JoinOptions) = any();
        future::<Answer<api::GossipTopic>>(api.subscribe_with_opts(topic, options));
    }
    "api::GossipSender" {
        fn traits<T: Debug + Clone>() {}
        traits::<api::GossipSender>();
        free::<api::GossipSender>();
    }
    "api::GossipSender::broadcast" {
        future::<Answer<()>>(any::<&api::GossipSender>().broadcast(any::<Bytes>()));
    }
    "api::GossipSender::broadcast_neighbors" {
        future::<Answer<()>>(any::<&api::GossipSender>().broadcast_neighbors(any::<Bytes>()));
    }
    "api::GossipSender::join_peers" {
        future::<Answer<()>>(any::<&api::GossipSender>().join_peers(any::<Vec<EndpointId>>()));
    }
    "api::GossipTopic" {
        fn traits<T: Debug + Stream<Item = Answer<api::Event>> + Send + Unpin + 'static>() {}
        traits::<api::GossipTopic>();
    }
    "api::GossipTopic::split" {
        let _: fn(api::GossipTopic) -> (api::GossipSender, api::GossipReceiver) =
            api::GossipTopic::split;
    }
    "api::GossipTopic::broadcast" {
        future::<Answer<()>>(any::<&mut api::GossipTopic>().broadcast(any::<Bytes>()));
    }
    "api::GossipTopic::broadcast_neighbors" {
        future::<Answer<()>>(any::<&mut api::GossipTopic>().broadcast_neighbors(any::<Bytes>()));
    }
    "api::GossipTopic::neighbors" {
        let topic: api::GossipTopic = any();
        let _: Vec<EndpointId> = topic.neighbors().collect();
    }
    "api::GossipTopic::joined" {
        future::<Answer<()>>(any::<&mut api::GossipTopic>().joined());
    }
    "api::GossipTopic::is_joined" {
        let _: fn(&api::GossipTopic) -> bool = api::GossipTopic::is_joined;
    }
    "api::GossipReceiver" {
        fn traits<T: Debug + Stream<Item = Answer<api::Event>> + Send + Unpin + 'static>() {}
        traits::<api::GossipReceiver>();
    }
    "api::GossipReceiver::neighbors" {
        let receiver: api::GossipReceiver = any();
        let _: Vec<EndpointId> = receiver.neighbors().collect();
    }
    "api::GossipReceiver::joined" {
        future::<Answer<()>>(any::<&mut api::GossipReceiver>().joined());
    }
    "api::GossipReceiver::is_joined" {
        let _: fn(&api::GossipReceiver) -> bool = api::GossipReceiver::is_joined;
    }
    "api::Event" {
        fn traits<T: Clone + Ord + Debug + Serialize + DeserializeOwned>() {}
        traits::<api::Event>();
        free::<api::Event>();
        // All of them, and no others.
        match any::<api::Event>() {
            api::Event::NeighborUp(peer) | api::Event::NeighborDown(peer) => {
                let _: EndpointId = peer;
            }
            api::Event::Received(message) => {
                let _: api::Message = message;
            }
            api::Event::Lagged => {}
        }
    }
    "api::Event: From<proto::Event<EndpointId>>" {
        let _ = api::Event::from(any::<proto::Event<EndpointId>>());
    }
    "api::Message" {
        fn traits<T: Clone + Ord + Debug + Serialize + DeserializeOwned>() {}
        traits::<api::Message>();
        free::<api::Message>();
        let _ = api::Message {
            content: any::<Bytes>(),
            scope: any::<proto::DeliveryScope>(),
            delivered_from: any::<EndpointId>(),
        };
    }
    "api::Command" {
        fn traits<T: Clone + Debug + Serialize + DeserializeOwned>() {}
        traits::<api::Command>();
        free::<api::Command>();
        match any::<api::Command>() {
            api::Command::Broadcast(content) | api::Command::BroadcastNeighbors(content) => {
                let _: Bytes = content;
            }
            api::Command::JoinPeers(peers) => {
                let _: Vec<EndpointId> = peers;
            }
        }
    }
    "api::JoinOptions" {
        fn traits<T: Debug + Serialize + DeserializeOwned>() {}
        traits::<api::JoinOptions>();
        free::<api::JoinOptions>();
        let _ = api::JoinOptions {
            bootstrap: any::<BTreeSet<EndpointId>>(),
            subscription_capacity: any::<usize>(),
        };
    }
    "api::JoinOptions::with_bootstrap" {
        let _: api::JoinOptions = api::JoinOptions::with_bootstrap(any::<Vec<EndpointId>>());
        let _: api::JoinOptions = api::JoinOptions::with_bootstrap(any::<[EndpointId; 2]>());
    }

    // `metrics`.
    "metrics::Metrics" {
        fn traits<T: Debug + Default + iroh_metrics::MetricsGroup>() {}
        traits::<metrics::Metrics>();
        free::<metrics::Metrics>();
        let metrics = metrics::Metrics::default();
        let _: [&iroh_metrics::Counter; 18] = [
            &metrics.msgs_ctrl_sent,
            &metrics.msgs_ctrl_recv,
            &metrics.msgs_data_sent,
            &metrics.msgs_data_recv,
            &metrics.msgs_data_sent_size,
            &metrics.msgs_data_recv_size,
            &metrics.msgs_ctrl_sent_size,
            &metrics.msgs_ctrl_recv_size,
            &metrics.neighbor_up,
            &metrics.neighbor_down,
            &metrics.actor_tick_main,
            &metrics.actor_tick_rx,
            &metrics.actor_tick_endpoint,
            &metrics.actor_tick_dialer,
            &metrics.actor_tick_dialer_success,
            &metrics.actor_tick_dialer_failure,
            &metrics.actor_tick_in_event_rx,
            &metrics.actor_tick_timers,
        ];
    }

    // `proto`: constants.
    "proto::DEFAULT_MAX_MESSAGE_SIZE" {
        const _: [(); 4096] = [(); proto::DEFAULT_MAX_MESSAGE_SIZE];
    }
    "proto::MIN_MAX_MESSAGE_SIZE" {
        const _: [(); 512] = [(); proto::MIN_MAX_MESSAGE_SIZE];
    }

    // `proto`: ids.
    "proto::TopicId" {
        fn traits<T: Copy + Ord + Hash + Debug + Display + Serialize + DeserializeOwned>() {}
        traits::<proto::TopicId>();
        fn views<T: AsRef<[u8]> + AsRef<[u8; 32]>>() {}
        views::<proto::TopicId>();
        free::<proto::TopicId>();
    }
    "proto::TopicId::from_bytes" {
        const _: proto::TopicId = proto::TopicId::from_bytes([0; 32]);
    }
    "proto::TopicId::as_bytes" {
        let _: fn(&proto::TopicId) -> &[u8; 32] = proto::TopicId::as_bytes;
    }
    "proto::TopicId::fmt_short" {
        let _: fn(&proto::TopicId) -> String = proto::TopicId::fmt_short;
    }
    "proto::TopicId: From<T: Into<[u8; 32]>>" {
        let _ = proto::TopicId::from(any::<[u8; 32]>());
        let _ = proto::TopicId::from(any::<blake3::Hash>());
    }
    "proto::TopicId: FromStr" {
        let _: Result<proto::TopicId, hex::FromHexError> = proto::TopicId::from_str("");
    }
    "proto::state::TopicId" {
        let _: proto::state::TopicId = any::<proto::TopicId>();
    }

    // `proto`: scopes.
    "proto::Scope" {
        fn traits<T: Copy + Ord + Debug + Serialize + DeserializeOwned>() {}
        traits::<proto::Scope>();
        match any::<proto::Scope>() {
            proto::Scope::Swarm | proto::Scope::Neighbors => {}
        }
    }
    "proto::DeliveryScope" {
        fn traits<T: Copy + Ord + Debug + Serialize + DeserializeOwned>() {}
        traits::<proto::DeliveryScope>();
        match any::<proto::DeliveryScope>() {
            proto::DeliveryScope::Swarm(_) | proto::DeliveryScope::Neighbors => {}
        }
    }
    "proto::DeliveryScope::is_direct" {
        let _: fn(&proto::DeliveryScope) -> bool = proto::DeliveryScope::is_direct;
    }
    "the round in proto::DeliveryScope::Swarm" {
        fn traits<T>(_: T)
        where
            T: Copy + Ord + Hash + Debug + Serialize + DeserializeOwned + From<u16>,
            T: Add<Output = T> + Sub<Output = T>,
        {
        }
        if let proto::DeliveryScope::Swarm(round) = any() {
            let _ = round.next() == 1.into();
            traits(round);
        }
    }

    // `proto`: configurations.
    "proto::Config" {
        fn traits<T: Clone + Debug + Default + Serialize + DeserializeOwned>() {}
        traits::<proto::Config>();
        let _ = proto::Config {
            membership: any::<proto::HyparviewConfig>(),
            broadcast: any::<proto::PlumtreeConfig>(),
            max_message_size: any::<usize>(),
        };
    }
    "proto::topic::Config" {
        let _: proto::topic::Config = any::<proto::Config>();
    }
    "proto::HyparviewConfig" {
        fn traits<T: Clone + Debug + Default + Serialize + DeserializeOwned>() {}
        traits::<proto::HyparviewConfig>();
        let _ = proto::HyparviewConfig {
            active_view_capacity: any::<usize>(),
            passive_view_capacity: any::<usize>(),
            active_random_walk_length: any(),
            passive_random_walk_length: any(),
            shuffle_random_walk_length: any(),
            shuffle_active_view_count: any::<usize>(),
            shuffle_passive_view_count: any::<usize>(),
            shuffle_interval: any::<Duration>(),
            neighbor_request_timeout: any::<Duration>(),
        };
    }
    "the hops in proto::HyparviewConfig" {
        fn traits<T>(_: T)
        where
            T: Copy + Eq + Debug + Serialize + DeserializeOwned + From<u16> + Sub<Output = T>,
        {
        }
        let mut hops = any::<proto::HyparviewConfig>().active_random_walk_length;
        let _: bool = hops.expired();
        hops = hops.next();
        let _: u16 = hops.0;
        traits(hops);
    }
    "proto::PlumtreeConfig" {
        fn traits<T: Clone + Debug + Default + Serialize + DeserializeOwned>() {}
        traits::<proto::PlumtreeConfig>();
        let _ = proto::PlumtreeConfig {
            graft_timeout_1: any::<Duration>(),
            graft_timeout_2: any::<Duration>(),
            dispatch_timeout: any::<Duration>(),
            optimization_threshold: any(),
            message_cache_retention: any::<Duration>(),
            message_id_retention: any::<Duration>(),
            cache_evict_interval: any::<Duration>(),
        };
    }

    // `proto`: what `net` and `api` name of it.
    "proto::Event" {
        fn traits<T: Clone + Ord + Debug + Serialize + DeserializeOwned>() {}
        traits::<proto::Event<PublicKey>>();
        match any::<proto::Event<PublicKey>>() {
            proto::Event::NeighborUp(peer) | proto::Event::NeighborDown(peer) => {
                let _: PublicKey = peer;
            }
            proto::Event::Received(message) => {
                let _: Bytes = message.content;
                let _: PublicKey = message.delivered_from;
                let _: proto::DeliveryScope = message.scope;
            }
        }
    }
    "proto::topic::Event" {
        let _: proto::topic::Event<PublicKey> = any::<proto::Event<PublicKey>>();
    }
    "proto::Command" {
        fn traits<T: Clone + Debug>() {}
        traits::<proto::Command<PublicKey>>();
        match any::<proto::Command<PublicKey>>() {
            proto::Command::Join(peers) => {
                let _: Vec<PublicKey> = peers;
            }
            proto::Command::Broadcast(content, scope) => {
                let _: (Bytes, proto::Scope) = (content, scope);
            }
            proto::Command::Quit => {}
        }
    }
    "proto::topic::Command" {
        let _: proto::topic::Command<PublicKey> = any::<proto::Command<PublicKey>>();
    }
    "proto::PeerIdentity" {
        fn named<T: proto::PeerIdentity>() {}
        named::<PublicKey>();
        named::<u64>();
    }
    "proto::PeerData" {
        fn traits<T: Clone + Eq + Debug + Default + Serialize + DeserializeOwned>() {}
        traits::<proto::PeerData>();
    }
    "proto::PeerData::new" {
        let _: proto::PeerData = proto::PeerData::new(vec![0u8]);
        let _: proto::PeerData = proto::PeerData::new(any::<Bytes>());
    }
    "proto::PeerData::inner" {
        let _: fn(&proto::PeerData) -> &Bytes = proto::PeerData::inner;
    }
    "proto::PeerData::as_bytes" {
        let _: fn(&proto::PeerData) -> &[u8] = proto::PeerData::as_bytes;
    }
}
