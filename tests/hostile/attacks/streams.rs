//! Streams that are broken, too many, or stand still.

use std::time::Duration;

use iroh::endpoint::{QuicTransportConfig, VarInt};
use smol_gossip::proto::{Message, hyparview, plumtree};

use super::{
    Target,
    foe::{Expelled, Foe, join, many, open, other_topic, transport},
};

/// Frames of a fair length, with nothing in them that is a message.
pub(super) async fn garbage_frames(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        let mut body = vec![0x93; 300];
        body[..4].copy_from_slice(&296u32.to_be_bytes());
        loop {
            member.write(&body).await?;
        }
    })
    .await;
}

/// A frame that is announced as longer than anything.
pub(super) async fn length_of_four_gigabytes(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        member.write(&u32::MAX.to_be_bytes()).await?;
        loop {
            member.write(&[0; 4096]).await?;
        }
    })
    .await;
}

/// Frames of a single byte, which is no message.
pub(super) async fn frames_of_one_byte(target: Target) {
    let foe = Foe::new(0, &target).await;
    let frames = [0, 0, 0, 1, 1].repeat(200);
    foe.as_member(async |member| {
        loop {
            member.write(&frames).await?;
        }
    })
    .await;
}

/// True frames, in as many packets as they have bytes.
pub(super) async fn a_byte_at_a_time(target: Target) {
    let foe = Foe::new(0, &target).await;
    let frame = many(&Message::Gossip(plumtree::Message::Prune), 1);
    foe.as_member(async |member| {
        loop {
            for byte in &frame {
                member.write(&[*byte]).await?;
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A stream that begins to name its topic.
pub(super) async fn half_a_header(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.again_and_again(async |connection| {
        let mut stream = connection.open_uni().await?;
        stream.write_all(&[0, 0, 0, 32, 1, 2, 3]).await?;
        connection.closed().await;
        Err(Expelled)
    })
    .await;
}

/// As many streams as there may be, each for a topic of its own, and nothing on them.
pub(super) async fn headers_and_never_a_frame(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.again_and_again(async |connection| {
        let mut streams = Vec::new();
        for n in 0..1000 {
            streams.push(open(connection, other_topic(n)).await?);
        }
        connection.closed().await;
        drop(streams);
        Err(Expelled)
    })
    .await;
}

/// As many streams as there may be, with the beginning of a frame on each, by a neighbor.
pub(super) async fn half_frames_and_silence(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        let mut streams = Vec::new();
        for n in 0..1000 {
            let mut stream = open(&member.connection, other_topic(n)).await?;
            stream.write_all(&4000u32.to_be_bytes()).await?;
            stream.write_all(&[0; 3999]).await?;
            streams.push(stream);
        }
        member.connection.closed().await;
        drop(streams);
        Err(Expelled)
    })
    .await;
}

/// As many streams as there may be, up to a thousand, and as many frames on all of them as can be
/// written.
pub(super) async fn a_thousand_streams(target: Target) {
    let foe = Foe::new(0, &target).await;
    let frames = many(&Message::Gossip(plumtree::Message::Prune), 100);
    foe.as_member(async |member| {
        let mut streams = Vec::new();
        for n in 0..1000 {
            let stream = open(&member.connection, other_topic(n));
            match tokio::time::timeout(Duration::from_millis(200), stream).await {
                Ok(stream) => streams.push(stream?),
                Err(_) => break,
            }
        }
        loop {
            for stream in &mut streams {
                stream.write_all(&frames).await?;
            }
        }
    })
    .await;
}

/// Many streams for the same topic, with frames on all of them, and never an end.
pub(super) async fn streams_of_one_topic(target: Target) {
    let foe = Foe::new(0, &target).await;
    let frames = many(&Message::Gossip(plumtree::Message::Prune), 100);
    foe.again_and_again(async |connection| {
        let mut streams = Vec::new();
        for _ in 0..1000 {
            let mut stream = open(connection, target.topic).await?;
            stream.write_all(&frames).await?;
            streams.push(stream);
        }
        connection.closed().await;
        Err(Expelled)
    })
    .await;
}

/// Streams that break off within a frame.
pub(super) async fn streams_reset_midway(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.again_and_again(async |connection| {
        for n in 0..1000 {
            let mut stream = open(connection, other_topic(n)).await?;
            stream.write_all(&[0, 0, 0, 200, 1]).await?;
            stream.reset(VarInt::from_u32(7))?;
        }
        connection.closed().await;
        Err(Expelled)
    })
    .await;
}

/// One stream after the other, each of them ended once it has named its topic.
pub(super) async fn streams_in_a_loop(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        loop {
            let mut stream = open(&member.connection, target.topic).await?;
            stream.finish()?;
        }
    })
    .await;
}

/// A neighbor that stops every stream of the node.
pub(super) async fn streams_stopped(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.again_and_again(async |connection| {
        let mut stream = open(connection, target.topic).await?;
        stream.write_all(&many(&join(), 1)).await?;
        loop {
            let mut theirs = connection.accept_uni().await?;
            theirs.stop(VarInt::from_u32(7))?;
        }
    })
    .await;
}

/// A neighbor that reads nothing, and gives no leave to send it any.
pub(super) async fn reads_nothing(target: Target) {
    let foe = Foe::with(0, &target, deaf()).await;
    foe.again_and_again(async |connection| {
        let mut stream = open(connection, target.topic).await?;
        stream.write_all(&many(&join(), 1)).await?;
        connection.closed().await;
        Err(Expelled)
    })
    .await;
}

/// The same, but it goes on to ask for what has to be answered.
pub(super) async fn reads_nothing_and_asks(target: Target) {
    let foe = Foe::with(0, &target, deaf()).await;
    let urgent = Message::Swarm(hyparview::Message::Neighbor(hyparview::Neighbor {
        priority: hyparview::Priority::High,
        data: None,
    }));
    foe.again_and_again(async |connection| {
        let mut stream = open(connection, target.topic).await?;
        stream.write_all(&many(&join(), 1)).await?;
        loop {
            stream.write_all(&many(&urgent, 1)).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

fn deaf() -> QuicTransportConfig {
    transport()
        .stream_receive_window(0u32.into())
        .receive_window(0u32.into())
        .build()
}
