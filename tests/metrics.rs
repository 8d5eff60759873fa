//! The counters of a node, as a Prometheus server reads them.
#![cfg(all(feature = "net", feature = "metrics"))]

mod common;

use common::*;
use iroh::address_lookup::memory::MemoryLookup;
use iroh_metrics::{MetricsGroup, MetricsSource, Registry};

#[tokio::test]
async fn a_registry_encodes_every_counter_of_every_node() {
    let book = MemoryLookup::new();
    let one = Node::start(1, &book).await;
    let two = Node::start(2, &book).await;
    let mut registry = Registry::default();
    for (name, node) in [("one", &one), ("two", &two)] {
        let registry = registry.sub_registry_with_label("node", name);
        registry.register(node.gossip.metrics().clone());
    }
    let mut here = one.subscribe(topic(1), &[]).await;
    let there = two.subscribe(topic(1), &[one.id()]).await;
    here.events.up(two.id()).await;
    there.broadcast("hello").await;
    here.events.message().await;

    let text = registry.encode_openmetrics_to_string().expect("text");
    let names = one.gossip.metrics().iter().map(|counter| counter.name());
    let mut counters = 0;
    for name in names {
        counters += 1;
        for node in ["one", "two"] {
            let line = format!("gossip_{name}_total{{node=\"{node}\"}} ");
            let found = text.lines().filter(|other| other.starts_with(&line));
            assert_eq!(found.count(), 1, "{line}");
        }
        assert!(text.contains(&format!("# HELP gossip_{name} ")), "{name}");
    }
    assert!(counters > 18, "{counters}");
    assert!(text.contains("gossip_msgs_data_recv_total{node=\"one\"} 1\n"));
    assert!(text.contains("gossip_msgs_data_sent_total{node=\"two\"} 1\n"));
    assert!(text.contains("gossip_neighbor_up_total{node=\"one\"} 1\n"));
    assert!(text.ends_with("# EOF\n"));
    one.stop().await;
    two.stop().await;
}
