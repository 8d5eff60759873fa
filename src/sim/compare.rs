//! Figures before and after, and whether the difference matters.

use super::scenario::Round;

/// Whether a figure has changed for better or worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By more than its tolerance, to the better.
    Better,
    /// Within its tolerance.
    Same,
    /// By more than its tolerance, to the worse.
    Worse,
}

/// A figure before and after.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its name.
    pub figure: &'static str,
    /// What it was.
    pub before: f64,
    /// What it is.
    pub after: f64,
    /// What to make of it.
    pub verdict: Verdict,
}

/// Names, relative and absolute tolerances (the larger one counts), and whether more is better.
///
/// They are about three times what a change of seeds does to the mean of a hundred rounds.
const TOLERANCES: [(&str, f64, f64, bool); 6] = [
    ("rmr", 0.10, 0.02, false),
    ("ldh", 0.10, 1.0, false),
    ("missed", 0.10, 0.1, false),
    ("duration_ms", 0.15, 20.0, false),
    ("reliability", 0.0, 0.0005, true),
    ("control", 0.10, 0.1, false),
];

/// Compares all figures of two means.
///
/// ```
/// # use smol_gossip::sim::{compare::{Verdict, compare}, scenario::Round};
/// let before = Round { ldh: 14.0, ..Round::default() };
/// let after = Round { ldh: 9.0, ..Round::default() };
/// let ldh = compare(&before, &after)[1];
/// assert_eq!((ldh.figure, ldh.verdict), ("ldh", Verdict::Better));
/// ```
pub fn compare(before: &Round, after: &Round) -> Vec<Difference> {
    let pairs = before.figures().into_iter().zip(after.figures());
    pairs
        .zip(TOLERANCES)
        .map(|(((figure, before), (_, after)), tolerance)| {
            let (name, relative, absolute, more_is_better) = tolerance;
            debug_assert_eq!(figure, name);
            let allowed = f64::max(before.abs() * relative, absolute);
            let loss = if more_is_better {
                before - after
            } else {
                after - before
            };
            let verdict = if loss > allowed {
                Verdict::Worse
            } else if loss < -allowed {
                Verdict::Better
            } else {
                Verdict::Same
            };
            Difference {
                figure,
                before,
                after,
                verdict,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(before: Round, after: Round) -> Vec<Verdict> {
        let differences = compare(&before, &after);
        differences.iter().map(|one| one.verdict).collect()
    }

    #[test]
    fn what_is_worse_is_told_from_what_is_better() {
        let before = Round {
            rmr: 0.1,
            ldh: 10.0,
            missed: 0.0,
            duration_ms: 400.0,
            reliability: 1.0,
            control: 3.0,
        };
        assert_eq!(verdicts(before, before), [Verdict::Same; 6]);
        let after = Round {
            rmr: 0.2,
            ldh: 8.0,
            reliability: 0.99,
            duration_ms: 450.0,
            ..before
        };
        let found = verdicts(before, after);
        assert_eq!(found[0], Verdict::Worse);
        assert_eq!(found[1], Verdict::Better);
        assert_eq!(found[3], Verdict::Same);
        assert_eq!(found[4], Verdict::Worse);
    }
}
