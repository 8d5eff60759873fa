//! Documents of iroh-docs, kept in sync over this crate's gossip.

use std::{collections::HashSet, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use futures_lite::{Stream, StreamExt};
use iroh::{
    Endpoint, EndpointAddr, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets,
    protocol::Router,
};
use iroh_blobs::{BlobsProtocol, store::mem::MemStore};
use iroh_docs::{
    api::{Doc, protocol::AddrInfoOptions, protocol::ShareMode},
    engine::LiveEvent,
    protocol::Docs,
    store::Query,
};
use iroh_gossip::{Gossip, TopicId};

/// Longer than anything takes that happens at all.
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What a program has that keeps documents.
struct Node {
    docs: Docs,
    gossip: Gossip,
    blobs: MemStore,
    router: Router,
}

impl Node {
    async fn start(book: &MemoryLookup) -> Outcome<Self> {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?
            .address_lookup(book.clone())
            .bind()
            .await?;
        let addr = EndpointAddr::new(endpoint.id());
        let sockets = endpoint.bound_sockets().into_iter();
        book.set_endpoint_info(sockets.fold(addr, EndpointAddr::with_ip_addr));

        let blobs = MemStore::default();
        let gossip = Gossip::builder().spawn(endpoint.clone());
        let docs = Docs::memory()
            .spawn(endpoint.clone(), (*blobs).clone(), gossip.clone())
            .await?;
        let router = Router::builder(endpoint)
            .accept(iroh_blobs::ALPN, BlobsProtocol::new(&blobs, None))
            .accept(iroh_gossip::ALPN, gossip.clone())
            .accept(iroh_docs::ALPN, docs.clone())
            .spawn();
        Ok(Self {
            docs,
            gossip,
            blobs,
            router,
        })
    }

    async fn write(&self, doc: &Doc, key: &str, value: &str) -> Outcome {
        let author = self.docs.api().author_default().await?;
        doc.set_bytes(author, key.to_owned(), value.to_owned())
            .await?;
        Ok(())
    }

    async fn read(&self, doc: &Doc, key: &str) -> Outcome<Option<Bytes>> {
        let Some(entry) = doc.get_one(Query::key_exact(key)).await? else {
            return Ok(None);
        };
        Ok(Some(self.blobs.get_bytes(entry.content_hash()).await?))
    }
}

/// Follows a document until what `key` says has come from another node, with its content.
async fn arrival(
    events: &mut (impl Stream<Item = Outcome<LiveEvent>> + Unpin),
    key: &str,
) -> Outcome {
    let arriving = async {
        let (mut awaited, mut ready) = (None, HashSet::new());
        while let Some(event) = events.next().await {
            match event? {
                LiveEvent::InsertRemote { entry, .. } if entry.key() == key.as_bytes() => {
                    awaited = Some(entry.content_hash());
                }
                // Two tasks of iroh-docs report these; the content may be there first.
                LiveEvent::ContentReady { hash } => _ = ready.insert(hash),
                _ => {}
            }
            if awaited.is_some_and(|hash| ready.contains(&hash)) {
                return Ok(());
            }
        }
        Err("the document was closed".into())
    };
    tokio::time::timeout(PATIENCE, arriving).await?
}

/// Waits until a document has a neighbor.
async fn neighbor(events: &mut (impl Stream<Item = Outcome<LiveEvent>> + Unpin)) -> Outcome {
    let coming = async {
        while let Some(event) = events.next().await {
            if let LiveEvent::NeighborUp(_) = event? {
                return Ok(());
            }
        }
        Err("the document was closed".into())
    };
    tokio::time::timeout(PATIENCE, coming).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_write_to_one_document() -> Outcome {
    let book = MemoryLookup::new();
    let (ann, bob) = (Node::start(&book).await?, Node::start(&book).await?);

    let here = ann.docs.api().create().await?;
    ann.write(&here, "before", "written before anybody came")
        .await?;
    let mut seen_here = here.subscribe().await?.map(|event| Ok(event?)).boxed();
    let ticket = here.share(ShareMode::Write, AddrInfoOptions::Id).await?;

    let (there, seen_there) = bob.docs.api().import_and_subscribe(ticket).await?;
    let mut seen_there = seen_there.map(|event| Ok(event?)).boxed();
    arrival(&mut seen_there, "before").await?;
    neighbor(&mut seen_here).await?;

    // From now on every change goes out as a broadcast: what is there was reconciled above, and
    // nobody asks for another reconciliation.
    let topic = TopicId::from_bytes(there.id().to_bytes());
    let heard = |node: &Node| node.gossip.metrics().msgs_data_recv.get();
    let (heard_by_ann, heard_by_bob) = (heard(&ann), heard(&bob));
    for turn in 0..10 {
        let (key, value) = (format!("{turn} from ann"), format!("ann's line {turn}"));
        ann.write(&here, &key, &value).await?;
        arrival(&mut seen_there, &key).await?;
        assert_eq!(bob.read(&there, &key).await?, Some(value.into()));

        let (key, value) = (format!("{turn} from bob"), format!("bob's line {turn}"));
        bob.write(&there, &key, &value).await?;
        arrival(&mut seen_here, &key).await?;
        assert_eq!(ann.read(&here, &key).await?, Some(value.into()));
    }
    assert!(heard(&ann) >= heard_by_ann + 10, "ann heard it by gossip");
    assert!(heard(&bob) >= heard_by_bob + 10, "bob heard it by gossip");

    // Only this crate can tell; so it is this crate that iroh-docs was given.
    let stats = ann.gossip.topic_stats(topic).await?;
    assert_eq!(stats.map(|stats| stats.neighbors.len()), Some(1));

    // One leaves, and the other is told.
    there.leave().await?;
    let leaving = async {
        while let Some(event) = seen_here.next().await {
            if let LiveEvent::NeighborDown(_) = event? {
                return Ok(());
            }
        }
        Err::<(), Box<dyn std::error::Error + Send + Sync>>("the document was closed".into())
    };
    tokio::time::timeout(PATIENCE, leaving).await??;

    bob.router.shutdown().await?;
    ann.router.shutdown().await?;
    Ok(())
}
