//! Parameters that make no sense.

use std::time::Duration;

use super::*;

fn new(config: Config, limits: Limits) -> Result<State<Peer>, ConfigError> {
    let mut rng = StdRng::seed_from_u64(1);
    State::new(1, PeerData::default(), config, limits, &mut rng)
}

fn with_max_message_size(max_message_size: usize) -> Config {
    Config {
        max_message_size,
        ..Default::default()
    }
}

#[test]
fn a_message_size_that_cannot_be_is_refused() {
    let limits = Limits::default;
    let small = new(with_max_message_size(511), limits()).unwrap_err();
    assert_eq!(
        small,
        ConfigError::MaxMessageSizeTooSmall {
            given: 511,
            min: 512
        }
    );
    assert_eq!(
        small.to_string(),
        "max_message_size is 511 bytes, and must be at least 512"
    );
    let large = usize::try_from(u64::from(u32::MAX) + 1);
    if let Ok(given) = large {
        let error = new(with_max_message_size(given), limits()).unwrap_err();
        assert_eq!(error, ConfigError::MaxMessageSizeTooLarge { given });
    }
    assert!(new(with_max_message_size(512), limits()).is_ok());
}

#[test]
fn other_nonsense_is_put_right() {
    let mut config = Config::default();
    config.membership.active_view_capacity = 0;
    config.membership.shuffle_interval = Duration::ZERO;
    config.membership.neighbor_request_timeout = Duration::MAX;
    config.broadcast.message_cache_retention = Duration::MAX;
    config.broadcast.message_id_retention = Duration::ZERO;
    let limits = Limits {
        pending_requests: 0,
        ..Default::default()
    };
    let state = new(config, limits).unwrap();
    let Config {
        membership,
        broadcast,
        max_message_size: _,
    } = state.config();
    assert_eq!(membership.active_view_capacity, 1);
    assert_eq!(membership.shuffle_interval, ms(1));
    assert!(membership.neighbor_request_timeout < Duration::MAX);
    assert!(broadcast.message_id_retention >= broadcast.message_cache_retention);
    assert_eq!(state.limits().pending_requests, 1);
}

#[test]
fn extreme_parameters_do_no_harm() {
    let mut config = with_max_message_size(512);
    let membership = &mut config.membership;
    membership.passive_view_capacity = 0;
    membership.shuffle_interval = Duration::MAX;
    membership.neighbor_request_timeout = Duration::ZERO;
    let broadcast = &mut config.broadcast;
    broadcast.graft_timeout_1 = Duration::ZERO;
    broadcast.graft_timeout_2 = Duration::ZERO;
    broadcast.dispatch_timeout = Duration::MAX;
    broadcast.message_cache_retention = Duration::MAX;
    let mut node = Node::with_config(config);
    node.join_with(topic(1), &[2, 3, 4]);
    node.recv(
        2,
        topic(1),
        payload("a", DeliveryScope::Swarm(u16::MAX.into())),
    );
    node.feed(InEvent::PeerDisconnected(3));
    for _ in 0..100 {
        node.now += ms(1);
        let joined = node.command(topic(1), Command::Join(vec![5]));
        if let Some((timer, deadline)) = timer_set(&joined) {
            node.now = node.now.max(deadline);
            node.feed(InEvent::TimerExpired(timer));
        }
    }
}

/// The caller says what the time is, and may say anything.
#[test]
fn the_end_of_time_does_no_harm() {
    let mut node = Node::with_config(Config::default());
    for bit in (0..u64::BITS).rev() {
        let later = node.now.checked_add(Duration::from_secs(1 << bit));
        node.now = later.unwrap_or(node.now);
    }
    assert!(node.now.checked_add(Duration::from_secs(1)).is_none());
    for turn in 0..5 {
        let joined = node.command(topic(1), Command::Join(vec![8, 9]));
        // Joins are repeated, but nobody will live to see it.
        assert_eq!(timer_set(&joined), None);
        let timer = *cancelled(&joined).first().expect("there is no timer");
        for peer in [2, 3, 4] {
            let join = hyparview::Message::Join(None);
            node.recv(peer, topic(1), Message::Swarm(join));
        }
        let said = payload(turn.to_string(), DeliveryScope::Swarm(0.into()));
        node.recv(2, topic(1), said);
        node.feed(InEvent::DialFailed(8));
        node.feed(InEvent::PeerDisconnected(3));
        let own = format!("own {turn}");
        node.command(topic(1), Command::Broadcast(own.into(), Scope::Swarm));
        for _ in 0..100 {
            node.feed(InEvent::TimerExpired(timer));
        }
        node.command(topic(1), Command::Quit);
    }
}
