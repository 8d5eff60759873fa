//! What is accepted once, and what is refused.

use proptest::prelude::*;

use super::*;

const ANN: Author = Author::from_bytes([1; 32]);
const BOB: Author = Author::from_bytes([2; 32]);

fn at(seconds: u64) -> Stamp {
    Stamp::from_micros(seconds * 1_000_000)
}

fn limits() -> ReplayLimits {
    ReplayLimits {
        max_age: Duration::from_secs(100),
        max_ahead: Duration::from_secs(10),
        authors: 2,
        messages: 3,
    }
}

#[test]
fn a_message_is_accepted_once_within_its_time() {
    let mut guard = ReplayGuard::new(limits());
    assert_eq!(guard.accept(ANN, at(99), at(200)), Err(Replay::Stale));
    assert_eq!(guard.accept(ANN, at(100), at(200)), Ok(()));
    assert_eq!(guard.accept(ANN, at(100), at(200)), Err(Replay::Repeated));
    assert_eq!(guard.accept(ANN, at(210), at(200)), Ok(()));
    assert_eq!(guard.accept(ANN, at(211), at(200)), Err(Replay::Ahead));
    assert_eq!(guard.accept(BOB, at(100), at(200)), Ok(()));
}

#[test]
fn what_there_is_no_room_for_is_refused_and_not_accepted_twice() {
    let mut guard = ReplayGuard::new(limits());
    for stamp in [5, 7, 6, 8] {
        assert_eq!(guard.accept(ANN, at(stamp), at(9)), Ok(()));
    }
    assert_eq!(guard.accept(ANN, at(5), at(9)), Err(Replay::Stale));
    assert_eq!(guard.accept(ANN, at(4), at(9)), Err(Replay::Stale));
    assert_eq!(guard.accept(ANN, at(6), at(9)), Err(Replay::Repeated));
}

#[test]
fn who_wrote_the_longest_ago_makes_room_and_nothing_of_it_is_accepted_again() {
    let carol = Author::from_bytes([3; 32]);
    let mut guard = ReplayGuard::new(limits());
    assert_eq!(guard.accept(ANN, at(45), at(50)), Ok(()));
    assert_eq!(guard.accept(ANN, at(50), at(50)), Ok(()));
    assert_eq!(guard.accept(BOB, at(60), at(60)), Ok(()));
    assert_eq!(guard.accept(ANN, at(46), at(60)), Ok(()));
    // Ann is forgotten, and of who is not remembered nothing up to 50 is accepted.
    assert_eq!(guard.accept(carol, at(61), at(61)), Ok(()));
    for stamp in [40, 45, 50] {
        assert_eq!(guard.accept(ANN, at(stamp), at(61)), Err(Replay::Stale));
    }
    assert_eq!(guard.accept(BOB, at(60), at(61)), Err(Replay::Repeated));
    assert_eq!(guard.accept(BOB, at(40), at(61)), Ok(()));
    // Bob makes room for Ann, who is not asked for more than others when she is known again.
    assert_eq!(guard.accept(ANN, at(51), at(61)), Ok(()));
    assert_eq!(guard.accept(ANN, at(50), at(61)), Err(Replay::Stale));
    assert_eq!(guard.accept(ANN, at(52), at(61)), Ok(()));
    assert_eq!(guard.accept(BOB, at(60), at(61)), Err(Replay::Stale));
    assert_eq!(guard.accept(BOB, at(62), at(62)), Ok(()));
}

#[test]
fn a_crowd_of_authors_keeps_nobody_out() {
    let mut guard = ReplayGuard::default();
    let made_up = |n: u64| {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        Author::from_bytes(key)
    };
    let authors = guard.limits.authors as u64;
    let mut refused = 0;
    for n in 0..4 * authors {
        // As far ahead as may be, or just now.
        let now = at(1000 + n / 512);
        let ahead = Duration::from_secs(if n % 3 == 0 { 0 } else { 60 });
        refused += u64::from(guard.accept(made_up(n), now.plus(ahead), now).is_err());
        if n % 64 == 63 {
            for author in [ANN, BOB] {
                let stamp = Stamp::from_micros(now.micros() + n);
                let later = Stamp::from_micros(stamp.micros() + 1);
                assert_eq!(guard.accept(author, stamp, later), Ok(()), "{n}");
            }
        }
        assert!(guard.floor <= Some(now));
    }
    assert!(guard.floor.is_some());
    // Those that are ahead beyond what half of the authors may be.
    assert!(refused > authors, "{refused}");
    let stamp = at(1008);
    let ahead = stamp.next();
    assert_eq!(
        guard.accept(made_up(u64::MAX), ahead, stamp),
        Err(Replay::Crowded)
    );
    assert_eq!(guard.accept(made_up(u64::MAX), stamp, stamp), Ok(()));
}

#[test]
fn nothing_is_accepted_again_after_the_clock_went_forth_and_back() {
    let carol = Author::from_bytes([3; 32]);
    let mut guard = ReplayGuard::new(limits());
    assert_eq!(guard.accept(ANN, at(50), at(50)), Ok(()));
    assert_eq!(guard.accept(BOB, at(60), at(60)), Ok(()));
    assert_eq!(guard.accept(carol, at(1000), at(1000)), Ok(()));
    assert_eq!(guard.accept(ANN, at(50), at(60)), Err(Replay::Stale));
    assert_eq!(guard.accept(BOB, at(60), at(60)), Err(Replay::Repeated));
    // What is new is accepted.
    assert_eq!(guard.accept(ANN, at(61), at(61)), Ok(()));
}

#[test]
fn no_stamp_is_too_extreme() {
    let mut guard = ReplayGuard::new(ReplayLimits {
        max_age: Duration::MAX,
        max_ahead: Duration::MAX,
        authors: 1,
        messages: 0,
    });
    for stamp in [0, u64::MAX] {
        let stamp = Stamp::from_micros(stamp);
        assert!(stamp.next() >= stamp);
        assert_eq!(guard.accept(ANN, stamp, stamp), Ok(()));
    }
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(Stamp::from_system_time(before), Stamp::from_micros(0));
}

proptest! {
    #[test]
    fn nothing_is_accepted_twice(
        messages in prop::collection::vec((0..5u8, 0..60u64, -4..8i64, 0..20u8), 0..200),
        authors in 0..4usize,
    ) {
        let mut guard = ReplayGuard::new(ReplayLimits {
            max_age: Duration::from_secs(20),
            authors,
            ..limits()
        });
        let mut accepted = BTreeSet::new();
        let mut now = 0u64;
        for (author, stamp, later, step) in messages {
            // Mostly time goes by and is corrected a little, and now and then the clock is set.
            now = match step {
                0 => stamp,
                _ => now.saturating_add_signed(later / 3),
            };
            let author = Author::from_bytes([author; 32]);
            let looked = guard.look(author, at(stamp), at(now));
            let judged = guard.accept(author, at(stamp), at(now));
            prop_assert_eq!(looked, judged);
            if judged.is_ok() {
                prop_assert!(accepted.insert((author, stamp)));
            }
            prop_assert!(guard.authors.len() <= authors);
            prop_assert!(guard.authors.values().all(|seen| seen.stamps.len() <= 3));
            let by_last = guard.authors.iter().map(|(author, seen)| {
                (*seen.stamps.last().expect("it is never empty"), *author)
            });
            prop_assert_eq!(by_last.collect::<BTreeSet<_>>(), guard.by_last.clone());
        }
    }

    #[test]
    fn who_is_not_ahead_is_accepted_as_long_as_the_clock_goes_on(
        messages in prop::collection::vec((0..8u8, 0..11u64, 1..3u64), 0..200),
        authors in 2..5usize,
    ) {
        let mut guard = ReplayGuard::new(ReplayLimits { authors, ..limits() });
        let mut now = 100;
        for (author, ahead, later) in messages {
            now += later;
            let made_up = Author::from_bytes([author; 32]);
            let _ = guard.accept(made_up, at(now + ahead), at(now));
            now += 1;
            let newcomer = Author::from_bytes([100 + (now % 3) as u8; 32]);
            prop_assert_eq!(guard.accept(newcomer, at(now), at(now)), Ok(()));
        }
    }
}
