//! Outside of a tokio context a node answers with a clear error, and never with the end of the
//! process.
//!
//! iroh aborts when it dials or accepts without a context, so each test is in a process of its own.
#![cfg(feature = "net")]

mod common;

use std::net::Ipv4Addr;

use common::{child::in_child, *};
use futures_lite::future;
use iroh::{Endpoint, address_lookup::memory::MemoryLookup, endpoint::Connection};
use smol_gossip::{
    Gossip,
    api::ApiError,
    net::{BuildError, Error, GOSSIP_ALPN},
    runtime::{NoContext, SmolRuntime, TokioRuntime},
};
use tokio::runtime::Handle;

/// A context elsewhere, to prepare what a test uses outside of it.
fn elsewhere() -> SmolRuntime {
    let runtime = SmolRuntime::start().expect("there is a thread");
    assert!(Handle::try_current().is_err(), "this thread has no context");
    runtime
}

fn bound(n: u8, book: &MemoryLookup, elsewhere: &SmolRuntime) -> Endpoint {
    future::block_on(elsewhere.context().wrap(bind(n, book)))
}

/// A connection between two endpoints.
fn connection(from: &Endpoint, to: &Endpoint, elsewhere: &SmolRuntime) -> [Connection; 2] {
    let made = future::zip(
        async {
            from.connect(to.id(), GOSSIP_ALPN)
                .await
                .expect("it is there")
        },
        async {
            to.accept()
                .await
                .expect("it is open")
                .await
                .expect("it is up")
        },
    );
    let (out, back) = future::block_on(elsewhere.context().wrap(within("a connection", made)));
    [out, back]
}

#[test]
fn there_is_no_current_runtime() {
    in_child("there_is_no_current_runtime", || {
        assert_eq!(TokioRuntime::current().unwrap_err(), NoContext);
        let advice = NoContext.to_string();
        assert!(advice.contains("SmolRuntime::start"), "{advice}");
    });
}

#[test]
fn nothing_is_spawned() {
    in_child("nothing_is_spawned", || {
        let elsewhere = elsewhere();
        let endpoint = bound(1, &MemoryLookup::new(), &elsewhere);
        let error = Gossip::builder().try_spawn(endpoint.clone()).unwrap_err();
        assert!(
            matches!(error, BuildError::NoContext(NoContext)),
            "{error:?}"
        );
        assert_eq!(error.to_string(), NoContext.to_string());
        // The endpoint is as it was.
        assert!(!endpoint.is_closed());
        future::block_on(elsewhere.context().wrap(endpoint.close()));
    });
}

#[test]
fn what_spawn_returns_is_closed() {
    in_child("what_spawn_returns_is_closed", || {
        let elsewhere = elsewhere();
        let book = MemoryLookup::new();
        let [here, there] = [1, 2].map(|n| bound(n, &book, &elsewhere));
        let [_out, back] = connection(&there, &here, &elsewhere);
        let gossip = Gossip::builder().spawn(here.clone());
        assert_eq!(gossip.max_message_size(), 4096);
        future::block_on(async {
            let subscribed = gossip.subscribe(topic(1), vec![id(2)]).await;
            assert!(
                matches!(subscribed, Err(ApiError::Closed { .. })),
                "{subscribed:?}"
            );
            let joined = gossip.subscribe_and_join(topic(1), vec![id(2)]).await;
            assert!(matches!(joined, Err(ApiError::Closed { .. })), "{joined:?}");
            let handled = gossip.handle_connection(back).await;
            assert!(
                matches!(handled, Err(Error::ActorDropped { .. })),
                "{handled:?}"
            );
            let shutdown = gossip.shutdown().await;
            assert!(
                matches!(shutdown, Err(Error::ActorDropped { .. })),
                "{shutdown:?}"
            );
        });
        for endpoint in [here, there] {
            future::block_on(elsewhere.context().wrap(endpoint.close()));
        }
    });
}

/// The drivers are polled on this thread, where no tokio runtime is; they dial and accept there,
/// and are dropped there. So are the endpoints.
#[test]
fn a_driver_brings_its_context_along() {
    in_child("a_driver_brings_its_context_along", || {
        let runtime = elsewhere();
        let book = MemoryLookup::new();
        let mut drivers = Vec::new();
        let [here, there] = [1, 2].map(|n| {
            let builder = Gossip::builder().accept_incoming(true);
            let node = builder.build(bound(n, &book, &runtime), runtime.clone());
            let (gossip, driver) = node.expect("there is a context");
            drivers.push(driver);
            gossip
        });
        let [driver, other] = drivers.try_into().expect("there are two");
        let meeting = async {
            let mut there = subscribe(&there, topic(1), &[]).await;
            let mut here = subscribe(&here, topic(1), &[id(2)]).await;
            here.events.up(id(2)).await;
            there.events.up(id(1)).await;
            here.broadcast("to").await;
            there.broadcast("fro").await;
            assert_eq!(there.events.message().await.content, "to");
            assert_eq!(here.events.message().await.content, "fro");
        };
        let nodes = async {
            future::zip(driver, other).await;
            unreachable!("they are told to go on");
        };
        future::block_on(future::or(meeting, nodes));
        assert!(Handle::try_current().is_err());
    });
}

/// Nobody is at the address that is dialed.
#[test]
fn a_dial_that_fails_does_no_harm() {
    in_child("a_dial_that_fails_does_no_harm", || {
        let runtime = elsewhere();
        let book = MemoryLookup::new();
        let nobody = iroh::EndpointAddr::new(id(2)).with_ip_addr((Ipv4Addr::LOCALHOST, 9).into());
        book.set_endpoint_info(nobody);
        let mut limits = smol_gossip::net::Limits::default();
        limits.dial_timeout = std::time::Duration::from_millis(200);
        let builder = Gossip::builder().limits(limits);
        let node = builder.build(bound(1, &book, &runtime), runtime.clone());
        let (gossip, driver) = node.expect("there is a context");
        let dialing = async {
            // Unknown altogether, and known but absent.
            let _topic = subscribe(&gossip, topic(1), &[id(3), id(2)]).await;
            let failed = async {
                while gossip.metrics().actor_tick_dialer_failure.get() < 3 {
                    future::yield_now().await;
                }
            };
            within("three failed dials", failed).await;
            within("shutdown", gossip.shutdown())
                .await
                .expect("it runs");
        };
        future::block_on(future::zip(dialing, driver));
    });
}
