//! Whatever comes in, in whatever order: the invariants of [`check`] hold after every input.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::proto::wire::strategies;

#[derive(Clone, Debug)]
enum Step {
    Event(InEvent<Peer>),
    /// Lets time pass, and the timers go off that are due.
    Wait(u64),
    /// Lets a timer go off at any time, also one that is gone.
    Timer(TimerId),
}

/// Few peers, so that they meet again in all roles. The first is the node itself.
fn peer() -> impl Strategy<Value = Peer> + Clone {
    1..14u32
}

fn topics() -> impl Strategy<Value = TopicId> + Clone {
    (1..4u8).prop_map(topic)
}

fn command() -> impl Strategy<Value = Command<Peer>> {
    let scope = prop_oneof![Just(Scope::Swarm), Just(Scope::Neighbors)];
    let len = prop_oneof![0..10usize, 4_050..4_060usize];
    prop_oneof![
        4 => vec(peer(), 0..4).prop_map(Command::Join),
        4 => (len, any::<u8>(), scope)
            .prop_map(|(len, byte, scope)| Command::Broadcast(vec![byte; len].into(), scope)),
        1 => Just(Command::Quit),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let message = (peer(), 0..40u64, topics(), strategies::message(peer())).prop_map(
        |(from, link, topic, message)| {
            Step::Event(InEvent::RecvMessage {
                from,
                link: LinkId(link),
                topic,
                message,
            })
        },
    );
    let timer = (0..4u32, 0..6u32).prop_map(|(slot, generation)| TimerId { slot, generation });
    prop_oneof![
        20 => message,
        6 => (topics(), command()).prop_map(|(id, c)| Step::Event(InEvent::Command(id, c))),
        2 => peer().prop_map(|peer| Step::Event(InEvent::PeerDisconnected(peer))),
        2 => peer().prop_map(|peer| Step::Event(InEvent::DialFailed(peer))),
        1 => (0..2_000usize).prop_map(|len| {
            Step::Event(InEvent::UpdatePeerData(PeerData::new(vec![1; len])))
        }),
        6 => (0..100_000u64).prop_map(Step::Wait),
        1 => timer.prop_map(Step::Timer),
    ]
}

/// What a caller does with timers, and what it may rely on.
#[derive(Default)]
struct Timers(std::collections::BTreeMap<TimerId, Instant>);

impl Timers {
    fn follow(&mut self, out: &Outbox<Peer>) {
        for event in out {
            match event {
                OutEvent::SetTimer(timer, deadline) => {
                    let before = self.0.insert(*timer, *deadline);
                    assert_ne!(before, Some(*deadline), "a timer is set only to change it");
                }
                OutEvent::CancelTimer(timer) => {
                    assert!(self.0.remove(timer).is_some(), "what is cancelled was set");
                }
                _ => {}
            }
        }
        let slots: std::collections::BTreeSet<_> = self.0.keys().map(TimerId::slot).collect();
        assert_eq!(slots.len(), self.0.len(), "one timer for one topic");
    }

    fn next_due(&self, now: Instant) -> Option<TimerId> {
        let due = self.0.iter().filter(|(_, deadline)| **deadline <= now);
        due.min_by_key(|(_, deadline)| **deadline)
            .map(|(timer, _)| *timer)
    }
}

fn run(steps: Vec<Step>) {
    let mut node = Node::new();
    let mut timers = Timers::default();
    for step in steps {
        match step {
            Step::Event(event) => timers.follow(&node.feed(event)),
            Step::Wait(millis) => {
                node.now += ms(millis);
                for turn in 0.. {
                    let Some(timer) = timers.next_due(node.now) else {
                        break;
                    };
                    assert!(turn < 1_000, "timers come to rest");
                    timers.0.remove(&timer);
                    timers.follow(&node.feed(InEvent::TimerExpired(timer)));
                }
            }
            Step::Timer(timer) => {
                timers.0.remove(&timer);
                timers.follow(&node.feed(InEvent::TimerExpired(timer)));
            }
        }
        assert!(timers.0.len() <= node.state.topics().len());
    }
    for name in 1..4 {
        timers.follow(&node.command(topic(name), Command::Quit));
    }
    assert!(
        timers.0.is_empty(),
        "the timers of all topics are cancelled"
    );
    for peer in 1..14 {
        assert!(
            !node.state.is_needed(&peer),
            "{peer} is not needed any more"
        );
    }
}

proptest! {
    /// Items 3, 12, 16, 17 and 19.
    #[test]
    fn no_input_breaks_an_invariant(steps in vec(step(), 0..120)) {
        run(steps);
    }
}
