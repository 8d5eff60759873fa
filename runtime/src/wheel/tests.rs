//! The places where a level begins, ends or is left, one by one. The rest is in
//! `tests/wheel_model.rs`.
#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use super::*;

/// A wheel, and the instant of its tick 0.
fn wheel<T>() -> (TimerWheel<T>, Instant) {
    let origin = Instant::now();
    (TimerWheel::new(origin), origin)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The ticks next to every power of 64 up to one beyond the range.
fn boundaries() -> impl Iterator<Item = u64> {
    (1..=LEVELS as u32 + 1)
        .map(|level| 64u64.pow(level))
        .flat_map(|power| [power - 1, power, power + 1])
}

#[test]
fn a_timer_at_a_boundary_fires_on_its_tick_and_not_before() {
    for tick in boundaries() {
        let (mut wheel, origin) = wheel();
        wheel.insert(origin + ms(tick), tick);
        assert_eq!(wheel.next_deadline(), Some(origin + ms(tick)));
        assert_eq!(wheel.pop_expired(origin + ms(tick - 1)), None);
        assert_eq!(wheel.pop_expired(origin + ms(tick)), Some(tick));
        assert!(wheel.is_empty());
    }
}

#[test]
fn boundaries_seen_from_one_tick_before_a_boundary() {
    for start in boundaries() {
        for ahead in boundaries() {
            let (mut wheel, origin) = wheel();
            let now = origin + ms(start - 1);
            assert_eq!(wheel.pop_expired(now), None);
            wheel.insert(now + ms(ahead), ahead);
            assert_eq!(wheel.pop_expired(now + ms(ahead - 1)), None);
            assert_eq!(wheel.next_deadline(), Some(now + ms(ahead)));
            assert_eq!(wheel.pop_expired(now + ms(ahead)), Some(ahead));
        }
    }
}

#[test]
fn all_boundaries_fire_in_order_in_one_jump() {
    let (mut wheel, origin) = wheel();
    for tick in boundaries().collect::<Vec<_>>().into_iter().rev() {
        wheel.insert(origin + ms(tick), tick);
    }
    let end = origin + ms(64u64.pow(7) + 1);
    let fired: Vec<_> = std::iter::from_fn(|| wheel.pop_expired(end)).collect();
    assert_eq!(fired, boundaries().collect::<Vec<_>>());
}

#[test]
fn deadlines_are_rounded_up_and_now_is_rounded_down() {
    let (mut wheel, origin) = wheel();
    let deadline = origin + Duration::from_nanos(1_000_001);
    let key = wheel.insert(deadline, ());
    assert_eq!(wheel.deadline(key), Some(origin + ms(2)));
    assert_eq!(
        wheel.pop_expired(origin + Duration::from_nanos(1_999_999)),
        None
    );
    assert_eq!(wheel.pop_expired(origin + ms(2)), Some(()));
}

#[test]
fn timers_beyond_the_range_keep_their_order_with_later_inserts() {
    let (mut wheel, origin) = wheel();
    let far = origin + ms(64u64.pow(6) * 3 + 5);
    wheel.insert(far, "from afar");
    assert_eq!(wheel.pop_expired(far - ms(1)), None);
    wheel.insert(far, "from near");
    assert_eq!(wheel.pop_expired(far), Some("from afar"));
    assert_eq!(wheel.pop_expired(far), Some("from near"));
}

#[test]
fn centuries_are_crossed_in_one_step() {
    let (mut wheel, origin) = wheel();
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    wheel.insert(origin + century * 90, 2);
    wheel.insert(origin + century * 10, 1);
    assert_eq!(wheel.pop_expired(origin + century * 100), Some(1));
    assert_eq!(wheel.pop_expired(origin + century * 100), Some(2));
}

#[test]
fn a_moved_timer_queues_behind_the_others_of_its_tick() {
    let (mut wheel, origin) = wheel();
    let deadline = origin + ms(5);
    let moved = wheel.insert(deadline, "moved");
    wheel.insert(deadline, "other");
    assert!(wheel.reset(moved, deadline));
    assert_eq!(wheel.pop_expired(deadline), Some("other"));
    assert_eq!(wheel.pop_expired(deadline), Some("moved"));
    assert!(!wheel.reset(moved, deadline));
}

#[test]
fn a_key_is_stale_for_the_next_timer_in_its_place() {
    let (mut wheel, origin) = wheel();
    let old = wheel.insert(origin, "old");
    assert_eq!(wheel.cancel(old), Some("old"));
    let new = wheel.insert(origin, "new");
    assert_eq!(old.index, new.index);
    assert_eq!(wheel.get(old), None);
    assert_eq!(wheel.deadline(old), None);
    assert_eq!(wheel.cancel(old), None);
    assert!(!wheel.reset(old, origin + ms(1)));
    assert_eq!(wheel.pop_expired(origin), Some("new"));
}

#[test]
fn time_going_backwards_changes_nothing() {
    let (mut wheel, origin) = wheel();
    wheel.insert(origin + ms(200), "later");
    assert_eq!(wheel.pop_expired(origin + ms(100)), None);
    assert_eq!(wheel.pop_expired(origin), None);
    wheel.insert(origin + ms(50), "past");
    assert_eq!(wheel.pop_expired(origin), Some("past"));
    assert_eq!(wheel.pop_expired(origin + ms(199)), None);
    assert_eq!(wheel.pop_expired(origin + ms(200)), Some("later"));
}

#[test]
fn a_cancelled_neighbour_costs_at_most_one_empty_pop() {
    let (mut wheel, origin) = wheel();
    // Both in one slot of the second level.
    let first = wheel.insert(origin + ms(130), "first");
    wheel.insert(origin + ms(180), "second");
    wheel.cancel(first);
    assert_eq!(wheel.next_deadline(), Some(origin + ms(130)));
    assert_eq!(wheel.pop_expired(origin + ms(130)), None);
    assert_eq!(wheel.next_deadline(), Some(origin + ms(180)));
}

#[test]
fn an_idle_wheel_is_small() {
    assert!(size_of::<TimerWheel<u64>>() <= 256);
    assert_eq!(size_of::<Option<TimerKey>>(), 8);
    assert_eq!(size_of::<Entry<u32>>(), 24);
}
