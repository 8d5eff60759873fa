//! Arbitrary inputs at arbitrary times: what always holds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// One thing that happens, with small numbers for peers and contents so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Up(u32),
    Down(u32),
    Payload(u32, u8, u16),
    FalsePayload(u32, u8),
    Direct(u32, u8),
    IHave(u32, Vec<(u8, u16)>),
    Graft(u32, Option<u8>),
    Prune(u32),
    Broadcast(u8, Scope),
    Timeout,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 0u32..7;
    let content = || 0u8..24;
    prop_oneof![
        2 => peer().prop_map(Step::Up),
        1 => peer().prop_map(Step::Down),
        6 => (peer(), content(), any::<u16>()).prop_map(|(a, b, c)| Step::Payload(a, b, c)),
        1 => (peer(), content()).prop_map(|(a, b)| Step::FalsePayload(a, b)),
        1 => (peer(), content()).prop_map(|(a, b)| Step::Direct(a, b)),
        5 => (peer(), prop::collection::vec((content(), any::<u16>()), 0..30))
            .prop_map(|(a, b)| Step::IHave(a, b)),
        3 => (peer(), prop::option::of(content())).prop_map(|(a, b)| Step::Graft(a, b)),
        2 => peer().prop_map(Step::Prune),
        2 => (content(), prop_oneof![Just(Scope::Swarm), Just(Scope::Neighbors)])
            .prop_map(|(a, b)| Step::Broadcast(a, b)),
        2 => Just(Step::Timeout),
        3 => (0u64..100).prop_map(Step::Wait),
        1 => (0u64..40_000).prop_map(Step::Wait),
    ]
}

fn take(node: &mut Node, step: &Step) -> Option<Output> {
    let mut recv = |from, message| Some(node.recv(from, message));
    match step {
        Step::Up(peer) => Some(node.up(*peer)),
        Step::Down(peer) => Some(node.down(*peer)),
        Step::Payload(peer, content, round) => recv(*peer, payload(&[*content], *round)),
        Step::FalsePayload(peer, content) => recv(
            *peer,
            Message::Gossip(Gossip {
                id: id(&[*content]),
                content: Bytes::from_static(b"something else"),
                scope: DeliveryScope::Swarm(Round::from(0)),
            }),
        ),
        Step::Direct(peer, content) => recv(*peer, direct(&[*content])),
        Step::IHave(peer, entries) => {
            let entries = entries.iter().map(|(content, round)| IHave {
                id: id(&[*content]),
                round: Round::from(*round),
            });
            recv(*peer, Message::IHave(entries.collect()))
        }
        Step::Graft(peer, content) => recv(
            *peer,
            Message::Graft(Graft {
                id: content.map(|content| id(&[content])),
                round: Round::from(0),
            }),
        ),
        Step::Prune(peer) => recv(*peer, Message::Prune),
        Step::Broadcast(content, scope) => Some(node.broadcast(&[*content], *scope)),
        Step::Timeout | Step::Wait(_) => None,
    }
}

/// Runs steps and checks after each of them. Returns everything that was put out.
fn run(steps: &[Step], limits: &Limits, config: &Config) -> Result<Vec<Output>, TestCaseError> {
    let mut node = Node::with(config.clone(), limits);
    let mut neighbors = BTreeSet::new();
    // When a content was last new to us, while its id must still be remembered.
    let mut fresh: BTreeMap<u8, At> = BTreeMap::new();
    let mut outputs = Vec::new();
    for step in steps {
        let mut output = Output::default();
        match step {
            Step::Wait(millis) => node.now += ms(*millis),
            Step::Timeout => {
                node.state
                    .handle_timeout(node.now, &mut node.counters, &mut output);
                prop_assert!(
                    node.state
                        .next_deadline()
                        .get()
                        .is_none_or(|at| at > node.now)
                );
            }
            Step::Up(peer) if *peer != 0 => {
                neighbors.insert(*peer);
            }
            Step::Down(peer) => {
                neighbors.remove(peer);
            }
            _ => {}
        }
        if let Some(taken) = take(&mut node, step) {
            output = taken;
        }

        let eager: BTreeSet<u32> = node.state.eager().copied().collect();
        let lazy: BTreeSet<u32> = node.state.lazy().copied().collect();
        prop_assert!(eager.is_disjoint(&lazy));
        prop_assert_eq!(&(&eager | &lazy), &neighbors);
        prop_assert!(output.sent.iter().all(|(to, _)| neighbors.contains(to)));

        prop_assert!(node.state.missing_ids() <= limits.missing_ids);
        prop_assert!(node.state.seen_ids() <= limits.seen_ids);
        prop_assert!(node.state.cache_bytes() <= limits.cache_bytes);

        for event in &output.delivered {
            if let DeliveryScope::Swarm(_) = event.scope {
                let again = fresh.insert(event.content[0], node.now);
                let retained = again.is_some_and(|at| node.now < at + config.message_id_retention);
                prop_assert!(!retained || node.counters.seen_evicted > 0);
            }
        }
        outputs.push(output);
    }

    // Left alone it comes to rest: nothing is waited for, nothing is kept.
    node.wait(Duration::from_secs(600));
    prop_assert_eq!(node.state.next_deadline().get(), None);
    prop_assert_eq!(node.state.missing_ids(), 0);
    prop_assert_eq!(node.state.seen_ids(), 0);
    prop_assert_eq!(node.state.cache_bytes(), 0);
    Ok(outputs)
}

fn limits() -> impl Strategy<Value = Limits> {
    let numbers = (
        1usize..30,
        1usize..30,
        0usize..6,
        1usize..4,
        0u32..20,
        1usize..6,
        0usize..4,
    );
    numbers.prop_map(
        |(seen, cache, missing, claims, rate, lazy, history)| Limits {
            cache_bytes: cache * 100,
            seen_ids: seen,
            missing_ids: missing,
            claims_per_id: claims,
            graft_replies_per_second: rate,
            lazy_queue: lazy,
            late_join_history: history,
            ..Limits::default()
        },
    )
}

proptest! {
    #[test]
    fn whatever_happens_the_invariants_hold(
        steps in prop::collection::vec(step(), 1..200),
        limits in limits(),
    ) {
        run(&steps, &limits, &Config::default())?;
    }

    #[test]
    fn at_default_limits_nothing_is_delivered_twice(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        run(&steps, &Limits::default(), &Config::default())?;
    }

    #[test]
    fn timeouts_of_nothing_and_of_everything_do_no_harm(
        steps in prop::collection::vec(step(), 1..100),
        durations in prop::collection::vec(prop_oneof![Just(Duration::ZERO), Just(ms(3))], 7),
    ) {
        let config = Config {
            graft_timeout_1: durations[0],
            graft_timeout_2: durations[1],
            dispatch_timeout: durations[2],
            optimization_threshold: Round::from(durations[3].as_millis() as u16),
            message_cache_retention: durations[4],
            message_id_retention: durations[5],
            cache_evict_interval: durations[6],
        };
        run(&steps, &Limits::default(), &config)?;
        let forever = Config {
            graft_timeout_2: Duration::MAX,
            message_id_retention: Duration::MAX,
            ..config
        };
        let mut node = Node::with(forever, &Limits::default());
        for step in &steps {
            take(&mut node, step);
            node.wait(ms(2));
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(steps in prop::collection::vec(step(), 1..100)) {
        let first = run(&steps, &Limits::default(), &Config::default())?;
        let second = run(&steps, &Limits::default(), &Config::default())?;
        for (one, other) in first.iter().zip(&second) {
            prop_assert_eq!(&one.sent, &other.sent);
            prop_assert_eq!(&one.delivered, &other.delivered);
        }
    }
}
