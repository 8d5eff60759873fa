//! How long to wait for what is on its way.
//!
//! The paper has two fixed timeouts, and says that the first should go by the diameter of the
//! overlay. Nobody knows that beforehand. Where it is too short, messages are asked for that the
//! tree is about to bring: they come twice, a good link is pruned, and with senders that change the
//! tree never comes to rest. So the configured times are only the least that is waited; beyond
//! that, the timeouts follow what was measured. Nothing is waited for where it is known that the tree
//! will not bring it: when announcers have just been asked to take the place of a lost link.

use std::collections::VecDeque;

use super::neighbors::Serial;
use crate::proto::{
    MessageId,
    clock::{At, MaybeAt},
};

/// No timeout is more than this many times what is configured: whoever announces early and sends
/// late can make us wait, but not for ever.
const LONGEST: u64 = 25;

/// How many messages that were asked for are remembered, to see whether the tree brings them too.
const RECOVERED: usize = 32;

/// So many messages have to be announced without one of them coming for it to be called silence.
const SILENT_MESSAGES: u32 = 3;

/// Each time that a neighbor was believed to be silent makes it take twice as long until it is again, up to so
/// many times.
const MOST_FALSE_ALARMS: u8 = 16;

/// What is assumed of the lag before anything was measured: mean and deviation, in terms of the least
/// timeout. It is too long for most swarms. Were it too short, then the first senders after the first
/// would have the tree torn up before it was measured.
const LAG_PRIOR: (u64, u64) = (5, 2);

/// So many deviations above the mean is what is waited, as TCP does.
const DEVIATIONS: u64 = 4;

/// The same for what a tree at rest is to bring: one whose links have been there for a while, and that is not
/// late with anything else. A Graft for what is on its way does more harm there than one that is late: the
/// tree changes over it, and hardly ever for the better; and the worse the tree, the more is late. In a busy
/// tree the next messages would have to wait too, and where links come and go there is more that will not
/// come.
const DEVIATIONS_AT_REST: u64 = 8;

/// An estimate of a delay from samples: mean and mean deviation, as TCP estimates round trips
/// (Jacobson and Karels, SIGCOMM'88).
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    /// What is waited at least.
    least: u64,
    /// All in nanoseconds.
    mean: u64,
    deviation: u64,
    /// The deviation of those who were farthest away, which is hardly forgotten at all: of a hundred senders
    /// each may be the only one.
    farthest: u64,
}

impl Delay {
    /// Waits `least` at least. The first samples correct `prior`, a mean and a deviation in terms of
    /// that.
    pub(super) fn new(least: u64, prior: (u64, u64)) -> Self {
        Self {
            least,
            mean: least.saturating_mul(prior.0),
            deviation: least.saturating_mul(prior.1),
            farthest: least.saturating_mul(prior.1),
        }
    }

    /// Takes a sample in.
    #[inline]
    pub(super) fn sample(&mut self, nanos: u64) {
        let nanos = nanos.min(self.longest());
        let error = self.mean.abs_diff(nanos);
        let at_rest = self.deviation.abs_diff(error) < 32 && self.farthest.abs_diff(error) < 128;
        if error < 8 && at_rest {
            // Nothing below would change. A tree that is at rest ends here.
            return;
        }
        if nanos > self.mean {
            self.mean += error / 8;
        } else {
            self.mean -= error / 8;
        }
        if error > self.deviation {
            self.deviation += (error - self.deviation) / 4;
        } else {
            // Slowly: senders that are far away are not forgotten over one that is near.
            self.deviation -= (self.deviation - error) / 32;
        }
        if error > self.farthest {
            self.farthest += (error - self.farthest) / 4;
        } else {
            self.farthest -= (self.farthest - error) / 128;
        }
        // What is beyond the timeout costs a message sent twice, so that it must not happen again.
        if nanos > self.timeout() {
            self.deviation = (nanos + nanos / 4).saturating_sub(self.mean) / DEVIATIONS;
            self.farthest = self.farthest.max(self.deviation);
        }
    }

    fn longest(&self) -> u64 {
        self.least.saturating_mul(LONGEST)
    }

    /// How long to wait.
    pub(super) fn timeout(&self) -> u64 {
        self.beyond_mean(self.deviation, DEVIATIONS)
    }

    /// How long to wait where a Graft too many is worse than one that is late.
    fn patient_timeout(&self) -> u64 {
        self.beyond_mean(self.farthest, DEVIATIONS_AT_REST)
    }

    fn beyond_mean(&self, deviation: u64, times: u64) -> u64 {
        let beyond = deviation.saturating_mul(times);
        let measured = self.mean.saturating_add(beyond);
        measured.clamp(self.least, self.longest())
    }

    /// What is waited at least, whatever was measured.
    pub(super) fn least(&self) -> u64 {
        self.least
    }
}

/// Messages that came because they were asked for, and when they were announced.
#[derive(Clone, Debug, Default)]
struct Recovered(VecDeque<(MessageId, At)>);

/// The delays of one topic.
#[derive(Clone, Debug)]
pub(super) struct Delays {
    /// From the first announcement of a message to the payload that the tree brings.
    pub(super) lag: Delay,
    /// From a Graft to the payload that answers it.
    pub(super) answer: Delay,
    /// Messages that came because they were asked for, and when they were announced first. That says
    /// nothing of the tree: what does is whether it brings them all the same, and when.
    ///
    /// `None` where there are none: most topics recover nothing for hours.
    recovered: Option<Box<Recovered>>,
    /// Since when a neighbor announces messages without any of them coming.
    silent_since: MaybeAt,
    /// Which one.
    silent: Serial,
    /// How many it has announced since then.
    unheard: u32,
    /// A link of the tree was lost, or there is silence, and no message has come since: nothing is to
    /// be expected of the tree.
    pub(super) broken: bool,
    /// How often the silent neighbor was believed, though nothing that it announced has come to this day.
    false_alarms: u8,
    /// When announcers were last asked to push from now on. What they announce until they have heard
    /// of it they will not push.
    turned_at: MaybeAt,
}

impl Delays {
    pub(super) fn new([graft_timeout_1, graft_timeout_2]: [u64; 2]) -> Self {
        Self {
            lag: Delay::new(graft_timeout_1, LAG_PRIOR),
            answer: Delay::new(graft_timeout_2, (0, 0)),
            recovered: None,
            silent_since: MaybeAt::NONE,
            silent: Serial::default(),
            unheard: 0,
            broken: true,
            false_alarms: 0,
            turned_at: MaybeAt::NONE,
        }
    }

    /// A message was announced that is not there. Says whether this makes it silence: a tree that is
    /// merely slow brings earlier messages of that neighbor meanwhile.
    pub(super) fn announced(&mut self, by: Serial, now: At) -> bool {
        let longest = self.lag.longest();
        let since = self.silent_since.get();
        let since = since.filter(|at| self.silent == by || now <= at.after(longest));
        let Some(since) = since else {
            self.silent_since = MaybeAt::some(now);
            self.false_alarms = 0;
            self.silent = by;
            self.unheard = 1;
            return false;
        };
        if self.silent != by {
            return false;
        }
        self.unheard = self.unheard.saturating_add(1);
        // Who makes up what it announces is silent for ever.
        let patience = self.lag.least().saturating_mul(1 << self.false_alarms);
        if self.unheard < SILENT_MESSAGES || now < since.after(patience) {
            return false;
        }
        self.silent_since = MaybeAt::some(now);
        self.unheard = 0;
        self.false_alarms = (self.false_alarms + 1).min(MOST_FALSE_ALARMS);
        !std::mem::replace(&mut self.broken, true)
    }

    /// Something that a neighbor announced has come.
    #[inline]
    pub(super) fn heard(&mut self, announced_by: Serial) {
        if self.silent == announced_by {
            self.silent_since = MaybeAt::NONE;
        }
    }

    /// The tree has brought a message that was announced before.
    pub(super) fn brought(&mut self, announced: At, now: At) {
        self.lag.sample(now.since(announced));
    }

    /// A message has come because it was asked for.
    pub(super) fn recovered(&mut self, id: MessageId, announced: At) {
        let Recovered(recovered) = &mut **self.recovered.get_or_insert_default();
        if recovered.len() >= RECOVERED {
            recovered.pop_front();
        }
        recovered.push_back((id, announced));
    }

    /// A message has come once more.
    pub(super) fn brought_again(&mut self, id: &MessageId, now: At) {
        let Some(recovered) = &mut self.recovered else {
            return;
        };
        let Recovered(recovered) = &mut **recovered;
        // No timeout is ever that long, and a duplicate should not be searched for among what is over.
        let longest = self.lag.longest();
        while let Some((_, announced)) = recovered.front()
            && announced.after(longest) < now
        {
            recovered.pop_front();
        }
        let found = recovered.iter().position(|(one, _)| one == id);
        if let Some((_, announced)) = found.and_then(|place| recovered.remove(place)) {
            // We were too impatient.
            self.brought(announced, now);
        }
    }

    /// Gives memory back when nothing is under way.
    pub(super) fn rest(&mut self) {
        self.recovered = None;
    }

    /// Announcers are asked to push from now on.
    pub(super) fn turned(&mut self, now: At) {
        self.turned_at = MaybeAt::some(now);
    }

    /// How long a message that is announced now may take to come along the tree. `at_rest` says
    /// whether the tree is.
    pub(super) fn until_graft(&self, at_rest: bool, now: At) -> u64 {
        let turned = self.turned_at.get();
        if turned.is_some_and(|at| now < at.after(self.answer.timeout())) {
            0
        } else if self.broken {
            self.lag.least()
        } else if at_rest {
            self.lag.patient_timeout()
        } else {
            self.lag.timeout()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_counts_when_the_tree_brings_it_too() {
        let mut delays = Delays::new([80 * MS, 40 * MS]);
        delays.broken = false;
        let before = delays.until_graft(false, At(0));
        let at = |millis: u64| At(millis * MS);
        let id = MessageId::from_content;
        for number in 0..100u8 {
            delays.recovered(id(&[number]), at(0));
        }
        assert_eq!(
            delays.until_graft(false, At(0)),
            before,
            "the tree may be broken"
        );
        delays.brought_again(&id(&[0]), at(1900));
        assert_eq!(
            delays.until_graft(false, At(0)),
            before,
            "that was long ago"
        );
        delays.brought_again(&id(&[99]), at(1900));
        let after = delays.until_graft(false, At(0));
        assert!(after > before, "{after}");
        delays.brought_again(&id(&[99]), at(9000));
        assert_eq!(delays.until_graft(false, At(0)), after, "it counts once");
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn who_announces_what_never_comes_is_believed_less_and_less() {
        let least = 80_000_000;
        let mut delays = Delays::new([least, least / 2]);
        let (liar, mut alarms) = (Serial::default(), 0);
        for millis in 0..10_000 {
            // What others say has come meanwhile.
            delays.broken = false;
            alarms += u32::from(delays.announced(liar, At(millis * 1_000_000)));
        }
        assert!((5..=8).contains(&alarms), "{alarms} alarms");
        delays.heard(liar);
        let now = 10_000 * 1_000_000;
        for nanos in [0, 0, least] {
            delays.broken = false;
            alarms = u32::from(delays.announced(liar, At(now + nanos)));
        }
        assert_eq!(alarms, 1, "it is believed again");
    }

    #[test]
    fn a_timeout_follows_what_is_measured() {
        let mut delay = Delay::new(80 * MS, (0, 0));
        assert_eq!(delay.timeout(), 80 * MS);
        for _ in 0..200 {
            delay.sample(300 * MS);
        }
        assert!((300 * MS..400 * MS).contains(&delay.timeout()));
        for _ in 0..500 {
            delay.sample(0);
        }
        assert_eq!(delay.timeout(), 80 * MS);
    }

    #[test]
    fn a_timeout_is_bounded() {
        let mut delay = Delay::new(80 * MS, (0, 0));
        for _ in 0..100 {
            delay.sample(u64::MAX);
        }
        assert_eq!(delay.timeout(), 25 * 80 * MS);
        let mut none = Delay::new(0, (0, 0));
        none.sample(u64::MAX);
        assert_eq!(none.timeout(), 0);
    }

    #[test]
    fn one_of_a_hundred_that_is_far_is_waited_for_by_who_is_patient() {
        let mut delay = Delay::new(80 * MS, (0, 0));
        for turn in 0..1000 {
            delay.sample(if turn % 100 == 0 { 700 * MS } else { 0 });
        }
        assert!(delay.timeout() < 300 * MS, "{}", delay.timeout());
        assert!(delay.patient_timeout() > 700 * MS);
        assert!(delay.patient_timeout() <= 25 * 80 * MS);
    }

    #[test]
    fn a_few_that_are_far_are_not_forgotten_over_many_that_are_near() {
        let mut delay = Delay::new(80 * MS, (0, 0));
        for turn in 0..400 {
            delay.sample(if turn % 10 == 0 { 500 * MS } else { 0 });
        }
        assert!(delay.timeout() > 500 * MS, "{}", delay.timeout());
    }
}
