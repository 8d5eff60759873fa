//! The timer wheel against an ordered map of `(tick, sequence)`: the same timers fire, in the same
//! order, whatever is inserted, cancelled, moved and waited for.
#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use smol_gossip_runtime::{TimerKey, TimerWheel};

const MILLI: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Step {
    /// A deadline in nanoseconds from now; negative is in the past.
    Insert(i64),
    Cancel(prop::sample::Index),
    Reset(prop::sample::Index, i64),
    /// Let nanoseconds pass, then pop at most so many timers.
    Advance(u64, usize),
    /// Ask with a `now` that lies back.
    Rewind(u64),
    /// Go where `next_deadline` says and pop.
    Jump,
}

/// Spans of every size the wheel treats differently, and the ticks around them.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0..5 * MILLI,
        3 => (0u64..200).prop_map(|ms| ms * MILLI),
        2 => 0..10_000 * MILLI,
        2 => (1u32..=6, 0u64..3).prop_map(|(level, off)| (64u64.pow(level) + off - 1) * MILLI),
        1 => 0..86_400_000 * MILLI,
        // Up to about ten years: several times the range.
        1 => 0..300_000_000_000 * MILLI,
    ]
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![
        9 => span().prop_map(|span| span as i64),
        1 => (0..100 * MILLI).prop_map(|span| -(span as i64)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let any_key = any::<prop::sample::Index>();
    prop_oneof![
        6 => offset().prop_map(Step::Insert),
        2 => any_key.clone().prop_map(Step::Cancel),
        2 => (any_key, offset()).prop_map(|(key, offset)| Step::Reset(key, offset)),
        4 => (span(), prop_oneof![0usize..4, Just(usize::MAX)])
            .prop_map(|(span, pops)| Step::Advance(span, pops)),
        1 => span().prop_map(Step::Rewind),
        2 => Just(Step::Jump),
    ]
}

/// What the wheel promises, in the plainest form.
#[derive(Default)]
struct Model {
    timers: BTreeMap<(u64, u64), usize>,
    sequence: u64,
    elapsed: u64,
}

impl Model {
    fn insert(&mut self, deadline_nanos: u64, value: usize) -> (u64, u64) {
        let place = (
            deadline_nanos.div_ceil(MILLI).max(self.elapsed),
            self.sequence,
        );
        self.sequence += 1;
        self.timers.insert(place, value);
        place
    }

    fn pop(&mut self, now_nanos: u64) -> Option<usize> {
        let now = (now_nanos / MILLI).max(self.elapsed);
        match self.timers.first_entry() {
            Some(first) if first.key().0 <= now => {
                self.elapsed = first.key().0;
                Some(first.remove())
            }
            _ => {
                self.elapsed = now;
                None
            }
        }
    }
}

struct Pair {
    origin: Instant,
    now: u64,
    wheel: TimerWheel<usize>,
    model: Model,
    /// Every key ever given out, by value, with its place in the model.
    keys: Vec<(TimerKey, (u64, u64))>,
}

impl Pair {
    fn new() -> Self {
        let origin = Instant::now();
        Self {
            origin,
            now: 0,
            wheel: TimerWheel::new(origin),
            model: Model::default(),
            keys: Vec::new(),
        }
    }

    fn at(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    fn deadline(&self, offset: i64) -> u64 {
        self.now.saturating_add_signed(offset)
    }

    /// Pops from both and compares; answers whether there was anything.
    fn pop(&mut self, now: u64) -> bool {
        let fired = self.wheel.pop_expired(self.at(now));
        assert_eq!(fired, self.model.pop(now));
        fired.is_some()
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Insert(offset) => {
                let deadline = self.deadline(offset);
                let value = self.keys.len();
                let key = self.wheel.insert(self.at(deadline), value);
                self.keys.push((key, self.model.insert(deadline, value)));
            }
            Step::Cancel(index) if !self.keys.is_empty() => {
                let (key, place) = self.keys[index.index(self.keys.len())];
                assert_eq!(self.wheel.cancel(key), self.model.timers.remove(&place));
                assert_eq!(self.wheel.cancel(key), None);
            }
            Step::Reset(index, offset) if !self.keys.is_empty() => {
                let value = index.index(self.keys.len());
                let (key, place) = self.keys[value];
                let deadline = self.deadline(offset);
                let moved = self.model.timers.remove(&place).is_some();
                assert_eq!(self.wheel.reset(key, self.at(deadline)), moved);
                if moved {
                    self.keys[value].1 = self.model.insert(deadline, value);
                }
            }
            Step::Cancel(_) | Step::Reset(..) => {}
            Step::Advance(span, pops) => {
                self.now += span;
                let emptied = (0..pops).any(|_| !self.pop(self.now));
                if emptied && let Some(next) = self.wheel.next_deadline() {
                    assert!(next > self.at(self.now), "nothing was due, yet no rest");
                }
            }
            Step::Rewind(span) => {
                self.pop(self.now.saturating_sub(span));
            }
            Step::Jump => {
                if let Some(next) = self.wheel.next_deadline() {
                    let next = (next - self.origin).as_nanos() as u64;
                    self.now = self.now.max(next);
                    while self.pop(self.now) {}
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.model.timers.len());
        assert_eq!(self.wheel.is_empty(), self.model.timers.is_empty());
        let first = self.model.timers.first_key_value();
        let next = self.wheel.next_deadline();
        assert_eq!(next.is_some(), first.is_some());
        if let (Some(next), Some((&(tick, _), _))) = (next, first) {
            assert!(next <= self.origin + Duration::from_millis(tick));
        }
        for (value, (key, place)) in self.keys.iter().enumerate() {
            let waiting = self.model.timers.contains_key(place);
            assert_eq!(self.wheel.get(*key), waiting.then_some(&value));
            let due = self.origin + Duration::from_millis(place.0);
            assert_eq!(self.wheel.deadline(*key), waiting.then_some(due));
        }
    }

    /// Sleeps and pops until nothing is left: each turn must get somewhere.
    fn drain(&mut self) {
        while let Some(next) = self.wheel.next_deadline() {
            let next = (next - self.origin).as_nanos() as u64;
            self.now = self.now.max(next);
            while self.pop(self.now) {}
        }
        assert!(self.model.timers.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_wheel_is_an_ordered_map(steps in vec(step(), 1..120)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.apply(step);
        }
        pair.drain();
    }
}
