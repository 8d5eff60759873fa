//! Whatever comes, the invariants of [`Node::check`] and [`Record`] hold.

use proptest::{collection::vec, option, prelude::*};

use super::*;

/// Few enough peers that they meet again.
fn id() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..12u32, 2 => 0..80u32]
}

fn peer_data() -> impl Strategy<Value = PeerData> {
    prop_oneof![0..4usize, 120..140usize, 1000..1100usize]
        .prop_map(|len| PeerData::new(vec![len as u8; len]))
}

fn info() -> impl Strategy<Value = PeerInfo<u32>> {
    (id(), option::of(peer_data())).prop_map(|(id, data)| PeerInfo { id, data })
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![8 => 0..8u16, 1 => any::<u16>()].prop_map(Ttl)
}

fn message() -> impl Strategy<Value = Message<u32>> {
    let priority = prop_oneof![Just(Priority::High), Just(Priority::Low)];
    prop_oneof![
        option::of(peer_data()).prop_map(Message::Join),
        (info(), ttl()).prop_map(|(peer, ttl)| Message::ForwardJoin(ForwardJoin { peer, ttl })),
        (id(), vec(info(), 0..20), ttl())
            .prop_map(|(origin, nodes, ttl)| Message::Shuffle(Shuffle { origin, nodes, ttl })),
        vec(info(), 0..20).prop_map(|nodes| Message::ShuffleReply(ShuffleReply { nodes })),
        (priority, option::of(peer_data()))
            .prop_map(|(priority, data)| Message::Neighbor(Neighbor { priority, data })),
        any::<bool>().prop_map(disconnect),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Input<u32>),
    Pass(Duration),
    /// The time of the next deadline, with no regard to how far that is.
    Timeout,
}

fn step() -> impl Strategy<Value = Step> {
    let received =
        (id(), 0..4u64, message()).prop_map(|(from, link, message)| Input::RecvMessage {
            from,
            link: LinkId(link),
            message,
        });
    let input = prop_oneof![
        12 => received,
        2 => id().prop_map(Input::PeerDisconnected),
        2 => id().prop_map(Input::DialFailed),
        1 => vec(id(), 0..40).prop_map(Input::Join),
        1 => peer_data().prop_map(Input::UpdatePeerData),
    ];
    prop_oneof![
        8 => input.prop_map(Step::Feed),
        2 => (0..3000u64).prop_map(|time| Step::Pass(ms(time))),
        1 => Just(Step::Timeout),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn no_input_breaks_the_views(
        seed in any::<u64>(),
        active in 0..7usize,
        passive in 0..20usize,
        max_message_size in prop_oneof![Just(512usize), Just(4096)],
        steps in vec(step(), 0..200),
    ) {
        let config = Config {
            active_view_capacity: active,
            passive_view_capacity: passive,
            ..Default::default()
        };
        let mut node = Node::with(5, seed, config, Limits::default(), max_message_size);
        for step in steps {
            match step {
                Step::Feed(input) => {
                    node.handle(input);
                }
                Step::Pass(time) => {
                    node.pass(time);
                }
                Step::Timeout => {
                    if let Some(deadline) = node.state.next_deadline().get() {
                        node.now = node.now.max(deadline);
                        node.timeout();
                    }
                }
            }
        }
        // Left alone, everything that is under way comes to an end.
        node.handle(Input::Quit);
        prop_assert!(node.record.held.is_empty());
        prop_assert!(node.record.neighbors.is_empty());
    }
}
