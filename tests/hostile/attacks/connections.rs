//! Connections and memberships that come and go, or come in crowds.

use std::time::Duration;

use futures_util::future::join_all;
use smol_gossip::proto::{
    Message,
    hyparview::{self, Disconnect, Neighbor, Priority},
};

use super::{
    Target,
    foe::{Foe, Member, frame, join, open},
};

/// A connection, closed as soon as it is there.
pub(super) async fn connections_in_a_loop(target: Target) {
    let foe = Foe::new(0, &target).await;
    loop {
        let connection = foe.connect().await;
        connection.close(0u32.into(), b"");
    }
}

/// One connection after the other, all of them kept, with a stream on each.
pub(super) async fn connections_kept(target: Target) {
    let foe = Foe::new(0, &target).await;
    let mut kept = Vec::new();
    loop {
        let connection = foe.connect().await;
        if let Ok(stream) = open(&connection, target.topic).await {
            kept.push((connection, stream));
        }
        if kept.len() > 64 {
            kept.clear();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A neighbor that leaves, comes, leaves, comes.
pub(super) async fn joins_and_leaves(target: Target) {
    let foe = Foe::new(0, &target).await;
    let leave = Message::Swarm(hyparview::Message::Disconnect(Disconnect::new(true)));
    foe.again_and_again(async |connection| {
        loop {
            let mut member = Member::join(connection, target.topic).await?;
            member.say(&leave).await?;
            member.stream.finish()?;
        }
    })
    .await;
}

/// A neighbor that insists, leaves, insists, leaves, on a single stream.
pub(super) async fn urgent_requests_and_leaves(target: Target) {
    let foe = Foe::new(0, &target).await;
    let urgent = Message::Swarm(hyparview::Message::Neighbor(Neighbor {
        priority: Priority::High,
        data: None,
    }));
    let leave = Message::Swarm(hyparview::Message::Disconnect(Disconnect::new(true)));
    let frames = [frame(&urgent), frame(&leave)].concat().repeat(100);
    foe.as_member(async |member| {
        loop {
            member.write(&frames).await?;
        }
    })
    .await;
}

/// Twenty that join at once, urge, and join again when they were put out.
pub(super) async fn twenty_sybils(target: Target) {
    let urgent = Message::Swarm(hyparview::Message::Neighbor(Neighbor {
        priority: Priority::High,
        data: None,
    }));
    let frames = [frame(&join()), frame(&urgent)].concat();
    let sybils = (0..20).map(async |n| {
        let foe = Foe::new(n, &target).await;
        foe.as_member(async |member| {
            for _ in 0..200 {
                member.write(&frames).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        })
        .await;
    });
    join_all(sybils).await;
}
