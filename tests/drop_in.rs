//! A program written for `iroh_gossip` 0.101 compiles against this crate and does the same.
//!
//! The text of the program is here once and is compiled twice. Nothing in it may be said
//! differently for one of the two.
#![cfg(feature = "net")]

mod common;

macro_rules! program {
    ($name:ident, $library:ident) => {
        mod $name {
            use std::{collections::BTreeSet, sync::Arc, time::Duration};

            use bytes::Bytes;
            use futures_lite::StreamExt;
            use iroh::{Endpoint, EndpointId, address_lookup::memory::MemoryLookup, protocol::Router};
            use $library as gossip;

            use self::gossip::{
                ALPN, Gossip, TopicId,
                api::{
                    ApiError, Command, Event, GossipApi, GossipReceiver, GossipSender, GossipTopic,
                    JoinOptions, Message,
                },
                metrics::Metrics,
                net::{self, GOSSIP_ALPN},
                proto::{
                    Config, DEFAULT_MAX_MESSAGE_SIZE, DeliveryScope, HyparviewConfig,
                    MIN_MAX_MESSAGE_SIZE, PlumtreeConfig, Scope,
                },
            };
            use crate::common::{bind, id, within};

            const TOPIC: TopicId = TopicId::from_bytes([23; 32]);

            /// A node with everything set, every field by its name.
            fn spawn(endpoint: Endpoint) -> (Gossip, Router) {
                let membership = HyparviewConfig {
                    active_view_capacity: 4,
                    passive_view_capacity: 24,
                    active_random_walk_length: 5.into(),
                    passive_random_walk_length: 2.into(),
                    shuffle_random_walk_length: 5.into(),
                    shuffle_active_view_count: 2,
                    shuffle_passive_view_count: 3,
                    shuffle_interval: Duration::from_secs(30),
                    neighbor_request_timeout: Duration::from_millis(400),
                };
                let broadcast = PlumtreeConfig {
                    graft_timeout_1: Duration::from_millis(60),
                    graft_timeout_2: Duration::from_millis(30),
                    dispatch_timeout: Duration::from_millis(4),
                    optimization_threshold: 7.into(),
                    message_cache_retention: Duration::from_secs(20),
                    message_id_retention: Duration::from_secs(60),
                    cache_evict_interval: Duration::from_secs(2),
                };
                let builder: net::Builder = Gossip::builder()
                    .max_message_size(8192)
                    .membership_config(membership)
                    .broadcast_config(broadcast)
                    .alpn(ALPN);
                let gossip: Gossip = builder.clone().spawn(endpoint.clone());
                assert_eq!(gossip.max_message_size(), 8192);
                let router = Router::builder(endpoint)
                    .accept(GOSSIP_ALPN, gossip.clone())
                    .spawn();
                (gossip, router)
            }

            /// Functions that programs keep handles in.
            struct Room {
                api: GossipApi,
                sender: GossipSender,
                receiver: GossipReceiver,
                members: BTreeSet<EndpointId>,
            }

            impl Room {
                async fn open(gossip: &Gossip, bootstrap: Vec<EndpointId>) -> Result<Self, ApiError> {
                    let api: &GossipApi = gossip;
                    let options = JoinOptions {
                        bootstrap: bootstrap.into_iter().collect(),
                        subscription_capacity: 128,
                    };
                    let topic = api.subscribe_with_opts(TOPIC, options).await?;
                    let (sender, receiver) = topic.split();
                    Ok(Self {
                        api: api.clone(),
                        sender,
                        receiver,
                        members: BTreeSet::new(),
                    })
                }

                /// Follows events up to the next message.
                async fn hear(&mut self) -> Result<Message, ApiError> {
                    while let Some(event) = self.receiver.try_next().await? {
                        match event {
                            Event::NeighborUp(peer) => {
                                self.members.insert(peer);
                            }
                            Event::NeighborDown(peer) => {
                                self.members.remove(&peer);
                            }
                            Event::Received(message) => return Ok(message),
                            Event::Lagged => panic!("the program is fast enough"),
                        }
                    }
                    panic!("the room is open")
                }
            }

            /// How a program may look at an error.
            fn is_closed(error: &ApiError) -> bool {
                match error {
                    ApiError::Closed { .. } => true,
                    ApiError::Rpc { .. } => true,
                    _ => false,
                }
            }

            #[tokio::test]
            async fn works() -> Result<(), Box<dyn std::error::Error>> {
                assert_eq!(ALPN, b"/iroh-gossip/1");
                assert_eq!(TOPIC.as_bytes(), &[23; 32]);
                assert_eq!(TOPIC.to_string().parse::<TopicId>()?, TOPIC);
                assert_eq!(TOPIC.fmt_short(), "1717171717");
                assert_eq!(Config::default().max_message_size, DEFAULT_MAX_MESSAGE_SIZE);
                assert_eq!((DEFAULT_MAX_MESSAGE_SIZE, MIN_MAX_MESSAGE_SIZE), (4096, 512));
                assert!(Scope::Swarm < Scope::Neighbors);

                let book = MemoryLookup::new();
                let (first, first_router) = spawn(bind(1, &book).await);
                let (second, second_router) = spawn(bind(2, &book).await);

                let mut there = Room::open(&first, vec![]).await?;
                assert!(!there.receiver.is_joined());
                let joining = second.subscribe_and_join(TOPIC, vec![id(1)]);
                let mut here: GossipTopic = within("joined", joining).await?;
                assert!(here.is_joined());
                assert_eq!(here.neighbors().collect::<Vec<_>>(), [id(1)]);
                within("joined", there.receiver.joined()).await?;
                assert_eq!(there.receiver.neighbors().collect::<Vec<_>>(), [id(2)]);

                here.broadcast(Bytes::from_static(b"to all")).await?;
                let message = within("a message", there.hear()).await?;
                let Message {
                    content,
                    scope,
                    delivered_from,
                } = message;
                assert_eq!((&content[..], delivered_from), (&b"to all"[..], id(2)));
                assert!(scope.is_direct());
                assert!(matches!(scope, DeliveryScope::Swarm(round) if round == 0.into()));

                let sender = there.sender.clone();
                sender.broadcast_neighbors(vec![7; 5000].into()).await?;
                let event = within("a message", here.next()).await.expect("it is open")?;
                match event {
                    Event::Received(message) => {
                        assert_eq!(message.content, vec![7; 5000]);
                        assert_eq!(message.scope, DeliveryScope::Neighbors);
                        assert!(message.scope.is_direct());
                    }
                    other => panic!("unexpected: {other:?}"),
                }
                sender.join_peers(vec![id(2)]).await?;
                let command = Command::JoinPeers(vec![id(2)]);
                assert!(matches!(command.clone(), Command::JoinPeers(peers) if peers == [id(2)]));

                let metrics: &Arc<Metrics> = second.metrics();
                assert_eq!(metrics.msgs_data_sent.get(), 1);
                assert_eq!(metrics.msgs_data_recv.get(), 1);
                assert!(metrics.msgs_data_sent_size.get() > 6);
                assert!(metrics.msgs_data_recv_size.get() > 5000);
                assert!(metrics.msgs_ctrl_sent.get() > 0);
                assert!(metrics.msgs_ctrl_recv.get() > 0);
                assert!(metrics.msgs_ctrl_sent_size.get() > 0);
                assert!(metrics.msgs_ctrl_recv_size.get() > 0);
                assert_eq!((metrics.neighbor_up.get(), metrics.neighbor_down.get()), (1, 0));
                assert!(metrics.actor_tick_main.get() > 0);
                assert!(metrics.actor_tick_rx.get() > 0);
                assert_eq!(first.metrics().actor_tick_endpoint.get(), 1);
                assert_eq!(metrics.actor_tick_dialer.get(), 1);
                assert_eq!(metrics.actor_tick_dialer_success.get(), 1);
                assert_eq!(metrics.actor_tick_dialer_failure.get(), 0);
                assert!(metrics.actor_tick_in_event_rx.get() > 0);
                let _ = metrics.actor_tick_timers.get();

                // Leaving, and coming again with the other way to subscribe.
                drop(here);
                let left = async {
                    while there.receiver.neighbors().next().is_some() {
                        there.receiver.try_next().await?;
                    }
                    Ok::<_, ApiError>(())
                };
                within("the neighbor gone", left).await?;
                let mut here = second.subscribe(TOPIC, vec![id(1)]).await?;
                within("joined", here.joined()).await?;
                here.broadcast("again".into()).await?;
                let message = within("a message", there.hear()).await?;
                assert_eq!(message.content, "again");
                assert_eq!(there.members, BTreeSet::from([id(2)]));

                // The end.
                within("shutdown", second_router.shutdown()).await?;
                let rest = within("the end", here.collect::<Vec<_>>()).await;
                assert!(!rest.iter().any(|event| matches!(event, Ok(Event::Received(_)))));
                let late = within("an answer", second.subscribe(TOPIC, vec![])).await;
                assert!(is_closed(&late.expect_err("the node has ended")));
                let again = within("an answer", second.shutdown()).await;
                assert!(matches!(again, Err(net::Error::ActorDropped { .. })));
                within("shutdown", first_router.shutdown()).await?;
                let sent = within("an answer", there.sender.broadcast("late".into())).await;
                assert!(is_closed(&sent.expect_err("the node has ended")));
                assert!(there.api.subscribe(TOPIC, vec![]).await.is_err());
                Ok(())
            }
        }
    };
}

program!(ours, smol_gossip);
program!(upstream, iroh_gossip);
