//! Floods of what the broadcast layer handles.

use std::time::Duration;

use bytes::Bytes;
use iroh::EndpointId;
use smol_gossip::proto::{
    Message, MessageId, Round,
    plumtree::{self, DeliveryScope, Gossip, Graft, IHave},
};

use super::{
    Target,
    foe::{Foe, Member, frame, many},
};

/// Announcements that fill a frame.
const PER_FRAME: u64 = 110;

/// Announces messages that there are not, as fast as they are taken.
pub(super) async fn made_up_announcements(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        for n in 0u64.. {
            let ihaves = (0..PER_FRAME).map(|k| IHave {
                id: made_up(PER_FRAME * n + k),
                round: Round::from(3),
            });
            let message = plumtree::Message::IHave(ihaves.collect());
            member.say(&Message::Gossip(message)).await?;
        }
        Ok(())
    })
    .await;
}

/// Grafts of one who is no neighbor, for messages that there are not.
pub(super) async fn strangers_grafts(target: Target) {
    let foe = Foe::new(0, &target).await;
    let frames = many(&graft(Some(made_up(1))), 1000);
    foe.again_and_again(async |connection| {
        let mut stranger = Member::silent(connection, target.topic).await?;
        loop {
            stranger.write(&frames).await?;
        }
    })
    .await;
}

/// Grafts of a neighbor, for messages that there are not.
pub(super) async fn grafts_of_the_unknown(target: Target) {
    let foe = Foe::new(0, &target).await;
    let frames: Vec<u8> = (0..1000)
        .flat_map(|n| frame(&graft(Some(made_up(n)))))
        .collect();
    foe.as_member(async |member| {
        loop {
            member.write(&frames).await?;
        }
    })
    .await;
}

/// Sends a large message, and asks for it back without end.
pub(super) async fn grafts_of_the_known(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        for n in 0u64.. {
            let content = content(n, 4000);
            let id = MessageId::from_content(&content);
            member.say(&payload(id, content, 0)).await?;
            let frames = many(&graft(Some(id)), 10_000);
            member.write(&frames).await?;
        }
        Ok(())
    })
    .await;
}

/// Changes its mind about payloads without end.
pub(super) async fn prunes_and_grafts(target: Target) {
    let foe = Foe::new(0, &target).await;
    let prune = frame(&Message::Gossip(plumtree::Message::Prune));
    let graft = frame(&graft(None));
    let frames = [prune, graft].concat().repeat(1000);
    foe.as_member(async |member| {
        loop {
            member.write(&frames).await?;
        }
    })
    .await;
}

/// Messages under ids that are not theirs.
pub(super) async fn false_hashes(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        for n in 0u64.. {
            member
                .say(&payload(made_up(n), content(n, 4000), 0))
                .await?;
        }
        Ok(())
    })
    .await;
}

/// One message, over and over.
pub(super) async fn the_same_again(target: Target) {
    let foe = Foe::new(0, &target).await;
    let content = content(0, 1000);
    let frames = many(&payload(MessageId::from_content(&content), content, 1), 100);
    foe.as_member(async |member| {
        loop {
            member.write(&frames).await?;
        }
    })
    .await;
}

/// Messages that claim to have come as far as can be said. They are true messages, and are
/// delivered: so only a few hundred a second.
pub(super) async fn rounds_at_the_end(target: Target) {
    say_things(target, 100, u16::MAX).await;
}

/// Messages in frames that are as long as is accepted, and too long to be sent on.
pub(super) async fn frames_of_the_maximum(target: Target) {
    // Message kinds, id, length of the content, scope and round take 38 bytes.
    say_things(target, 4096 - 38, 1).await;
}

async fn say_things(target: Target, len: usize, round: u16) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        for n in 0u64.. {
            let content = content(n, len);
            let message = payload(MessageId::from_content(&content), content, round);
            member.say(&message).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    })
    .await;
}

/// Content of hostile peers begins with a byte that honest content never does.
pub const MARK: u8 = 0xff;

fn content(n: u64, len: usize) -> Bytes {
    let mut content = vec![MARK; len];
    content[1..9].copy_from_slice(&n.to_be_bytes());
    content.into()
}

fn made_up(n: u64) -> MessageId {
    MessageId::from_bytes(*blake3::hash(&n.to_be_bytes()).as_bytes())
}

fn graft(id: Option<MessageId>) -> Message<EndpointId> {
    let round = Round::from(0);
    Message::Gossip(plumtree::Message::Graft(Graft { id, round }))
}

fn payload(id: MessageId, content: Bytes, round: u16) -> Message<EndpointId> {
    let scope = DeliveryScope::Swarm(Round::from(round));
    Message::Gossip(plumtree::Message::Gossip(Gossip { id, content, scope }))
}
