//! Handshakes within their rate, whoever begins them.

use proptest::prelude::*;

use super::*;

const PER_SECOND: u32 = 5;

#[expect(
    clippy::disallowed_methods,
    reason = "any instant serves as the origin"
)]
fn origin() -> Instant {
    Instant::now()
}

fn site(n: u32) -> Source {
    Source::V4(Ipv4Addr::from_bits(n))
}

fn accepted(outcome: IncomingFilterOutcome) -> bool {
    outcome == IncomingFilterOutcome::Accept
}

proptest! {
    /// Whatever comes when: no source begins more than it may, whether others come or not.
    #[test]
    fn a_source_gets_what_it_may_and_no_more(
        attempts in prop::collection::vec((0..4u32, 0..400u64), 1..400),
    ) {
        let (mut sources, mut now) = (Sources::new(PER_SECOND), origin());
        let mut begun: Vec<Vec<Instant>> = vec![Vec::new(); 4];
        for (who, pause) in attempts {
            now += Duration::from_millis(pause);
            let mut alone = Sources::new(PER_SECOND);
            for at in &begun[who as usize] {
                prop_assert!(accepted(alone.decide(site(who), true, *at)));
            }
            let outcome = sources.decide(site(who), true, now);
            prop_assert_eq!(outcome, alone.decide(site(who), true, now), "as if alone");
            if accepted(outcome) {
                begun[who as usize].push(now);
            }
        }
        for times in &begun {
            for (first, at) in times.iter().enumerate() {
                for (last, until) in times.iter().enumerate().skip(first) {
                    let most = AT_ONCE * PER_SECOND;
                    let more = (*until - *at).as_secs_f64() * f64::from(PER_SECOND);
                    prop_assert!((last - first) as f64 <= f64::from(most) + more);
                }
            }
        }
    }
}

#[test]
fn who_waits_gets_in_again() {
    let (mut sources, mut now) = (Sources::new(PER_SECOND), origin());
    while accepted(sources.decide(site(1), true, now)) {}
    now += Duration::from_secs(1);
    for _ in 0..PER_SECOND {
        assert!(accepted(sources.decide(site(1), true, now)));
    }
    assert!(!accepted(sources.decide(site(1), true, now)));
    assert!(accepted(sources.decide(site(2), true, now)), "another");
}

/// Addresses that are made up do not let anybody do more, and keep out nobody who has another one.
#[test]
fn many_sources_have_to_prove_their_addresses() {
    let (mut sources, now) = (Sources::new(PER_SECOND), origin());
    let outcomes: Vec<_> = (0..10_000)
        .map(|n| sources.decide(site(n), false, now))
        .collect();
    let let_in = outcomes.iter().filter(|one| accepted(**one)).count();
    assert_eq!(let_in as u32, UNPROVEN * AT_ONCE * PER_SECOND);
    let asked = |one: &&IncomingFilterOutcome| **one == IncomingFilterOutcome::Retry;
    assert_eq!(outcomes.iter().filter(asked).count(), 10_000 - let_in);
    assert!(accepted(sources.decide(site(20_000), true, now)));
}

/// Nobody can write another's address on packets and so use up what the other may do.
#[test]
fn what_is_begun_in_the_name_of_another_costs_the_other_nothing() {
    let (mut sources, now) = (Sources::new(PER_SECOND), origin());
    let outcomes: Vec<_> = (0..1_000)
        .map(|_| sources.decide(site(1), false, now))
        .collect();
    let let_in = outcomes.iter().filter(|one| accepted(**one)).count();
    assert_eq!(let_in as u32, AT_ONCE * PER_SECOND / BEFORE_PROOF);
    assert_eq!(outcomes.last(), Some(&IncomingFilterOutcome::Retry));
    for _ in 0..AT_ONCE * PER_SECOND {
        assert!(accepted(sources.decide(site(1), true, now)));
    }
    let outcome = sources.decide(site(1), true, now);
    assert_eq!(outcome, IncomingFilterOutcome::Ignore, "by its own doing");
}

#[test]
fn sources_are_remembered_within_a_bound() {
    let (mut sources, now) = (Sources::new(PER_SECOND), origin());
    for n in 0..3 * SHARES as u32 {
        assert!(accepted(sources.decide(site(n), true, now)));
        assert!(sources.used_until.len() <= SHARES);
    }
    let later = now + Duration::from_secs(1);
    assert!(accepted(sources.decide(site(u32::MAX), true, later)));
    assert_eq!(sources.used_until.len(), 1, "the others are as good as new");
}

#[test]
fn what_belongs_together_is_one_source() {
    let ip = |text: &str| Source::from(IncomingAddr::Ip(text.parse().unwrap()));
    assert_eq!(ip("192.0.2.1:1"), ip("192.0.2.1:2"));
    assert_eq!(ip("192.0.2.1:1"), ip("[::ffff:192.0.2.1]:1"));
    assert_ne!(ip("192.0.2.1:1"), ip("192.0.2.2:1"));
    assert_eq!(ip("[2001:db8::1]:1"), ip("[2001:db8::2:1]:1"));
    assert_ne!(ip("[2001:db8::1]:1"), ip("[2001:db8:0:1::1]:1"));
    assert_ne!(ip("127.0.0.1:1"), ip("127.0.0.1:2"));
}

#[test]
fn no_rate_makes_it_panic() {
    for per_second in [0, 1, u32::MAX] {
        let (mut sources, now) = (Sources::new(per_second), origin());
        for n in 0..100 {
            let outcome = sources.decide(site(n % 2), n % 3 == 0, now);
            assert!(n > 0 || accepted(outcome));
        }
    }
}

/// Who has proven its address gets in where it is crowded, and is held to its rate as ever.
#[test]
fn where_it_is_crowded_an_address_has_to_be_proven() {
    let (mut sources, now) = (Sources::new(PER_SECOND), origin());
    sources.crowded = true;
    for n in 0..100 {
        let outcome = sources.decide(site(n), false, now);
        assert_eq!(outcome, IncomingFilterOutcome::Retry);
        assert!(accepted(sources.decide(site(n), true, now)));
    }
    sources.crowded = false;
    assert!(
        accepted(sources.decide(site(1), false, now)),
        "nothing was used up"
    );
}
