//! How often something may be done.

use crate::proto::clock::At;

/// How often something may be done: `rate` times a second on average, and no more than `rate`
/// times at once.
///
/// It is the generic cell rate algorithm: the only state is the time at which the allowance will
/// be whole again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    whole_at: At,
}

impl Allowance {
    /// Uses up one, if there is one.
    pub(super) fn take(&mut self, rate: u32, now: At) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let Some(cost) = SECOND.checked_div(u64::from(rate)) else {
            return false;
        };
        let whole_at = self.whole_at.max(now).after(cost);
        let granted = whole_at <= now.after(SECOND);
        if granted {
            self.whole_at = whole_at;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_grows_back() {
        let mut allowance = Allowance::default();
        let at_once = (0..100).filter(|_| allowance.take(10, At(0))).count();
        assert_eq!(at_once, 10);
        let half_a_second_later = (0..100)
            .filter(|_| allowance.take(10, At(500_000_000)))
            .count();
        assert_eq!(half_a_second_later, 5);
        let much_later = (0..100)
            .filter(|_| allowance.take(10, At(9_000_000_000)))
            .count();
        assert_eq!(much_later, 10);
    }

    #[test]
    fn an_allowance_of_nothing_and_of_everything() {
        assert!(!Allowance::default().take(0, At(0)));
        let mut allowance = Allowance::default();
        assert!((0..10_000).all(|_| allowance.take(u32::MAX, At(0))));
        assert!(Allowance::default().take(1, At(u64::MAX)));
    }
}
