//! How long messages take.
//!
//! The latency of a pair of nodes is a function of the two and of the seed, so a million nodes need
//! no table of it, and a connection that is made again is as long as it was.

use std::{f64::consts::TAU, time::Duration};

use serde::{Deserialize, Serialize};

use super::{NodeId, Time, chance::spread, micros};

/// How the latencies of pairs of nodes are distributed. All are one way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Latency {
    /// The same for all.
    Static(#[serde(with = "super::duration")] Duration),
    /// Uniform within bounds.
    #[serde(alias = "uniform")]
    Dynamic {
        /// The least.
        #[serde(with = "super::duration")]
        min: Duration,
        /// What it stays below.
        #[serde(with = "super::duration")]
        max: Duration,
    },
    /// Log-normal, as measurements of the Internet mostly are: many short ones, a long tail.
    LogNormal {
        /// Half of the pairs are closer than this.
        #[serde(with = "super::duration")]
        median: Duration,
        /// The standard deviation of the logarithm: 0.5 puts one pair of forty beyond 2.7 times
        /// the median.
        sigma: f64,
        /// No pair is further apart.
        #[serde(with = "super::duration", default = "Latency::longest")]
        max: Duration,
    },
    /// A few regions with distances between them.
    Regions {
        /// The share of nodes in each region; all alike when there are none.
        #[serde(default)]
        shares: Vec<f64>,
        /// Latencies in milliseconds from region to region, a row per region.
        matrix: Vec<Vec<f64>>,
        /// How much two pairs of the same regions may differ: 0.1 is up to a tenth more or less.
        #[serde(default)]
        spread: f64,
    },
}

impl Default for Latency {
    fn default() -> Self {
        Self::Dynamic {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
        }
    }
}

/// A latency beyond this is refused.
pub(super) const LONGEST: Duration = Duration::from_secs(60 * 60);

impl Latency {
    /// Five regions of the world with about the distances that public clouds publish.
    ///
    /// ```
    /// # use smol_gossip::sim::{Latency, NetworkConfig};
    /// let config = NetworkConfig {
    ///     latency: Latency::world(),
    ///     ..NetworkConfig::default()
    /// };
    /// assert_eq!(config.check(), Ok(()));
    /// ```
    pub fn world() -> Self {
        Self::Regions {
            shares: vec![0.3, 0.15, 0.3, 0.15, 0.1],
            matrix: vec![
                vec![12.0, 35.0, 45.0, 80.0, 100.0],
                vec![35.0, 12.0, 75.0, 55.0, 70.0],
                vec![45.0, 75.0, 12.0, 110.0, 125.0],
                vec![80.0, 55.0, 110.0, 15.0, 50.0],
                vec![100.0, 70.0, 125.0, 50.0, 12.0],
            ],
            spread: 0.3,
        }
    }

    fn longest() -> Duration {
        Duration::from_secs(1)
    }

    /// What is wrong with the parameters.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::Latency;
    /// let (min, max) = (Duration::from_millis(50), Duration::from_millis(10));
    /// assert!(Latency::Dynamic { min, max }.check().is_err());
    /// ```
    pub fn check(&self) -> Result<(), String> {
        match self {
            _ if self.max() > LONGEST => Err("no latency may be longer than an hour".into()),
            Self::Static(_) => Ok(()),
            Self::Dynamic { min, max } if min < max => Ok(()),
            Self::Dynamic { .. } => Err("`min` must be less than `max`".into()),
            Self::LogNormal { sigma, .. } if sigma.is_finite() && *sigma >= 0.0 => Ok(()),
            Self::LogNormal { .. } => Err("`sigma` must be zero or more".into()),
            Self::Regions {
                shares,
                matrix,
                spread,
            } => {
                let count = matrix.len();
                if count == 0 || matrix.iter().any(|row| row.len() != count) {
                    Err("`matrix` must have as many columns as rows, and at least one".into())
                } else if matrix
                    .iter()
                    .flatten()
                    .any(|ms| !ms.is_finite() || *ms < 0.0)
                {
                    Err("`matrix` must hold milliseconds, zero or more".into())
                } else if !shares.is_empty() && shares.len() != count {
                    Err(format!(
                        "`shares` must name a share for each of the {count} regions"
                    ))
                } else if shares.iter().any(|share| share.is_nan() || *share < 0.0) {
                    Err("`shares` must be zero or more".into())
                } else if !(0.0..1.0).contains(spread) {
                    Err("`spread` must be at least 0 and less than 1".into())
                } else {
                    Ok(())
                }
            }
        }
    }

    /// About the longest latency that occurs.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::Latency;
    /// assert_eq!(Latency::default().max(), Duration::from_millis(100));
    /// ```
    pub fn max(&self) -> Duration {
        match self {
            Self::Static(latency) => *latency,
            Self::Dynamic { max, .. } | Self::LogNormal { max, .. } => *max,
            Self::Regions { matrix, spread, .. } => {
                let longest = matrix.iter().flatten().fold(0.0, |a, b| f64::max(a, *b));
                let seconds = f64::max(longest * (1.0 + spread) / 1e3, 0.0);
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
        }
    }

    /// The latency between two nodes, the same both ways.
    pub(super) fn between(&self, a: NodeId, b: NodeId, seed: u64) -> Time {
        let (low, high) = (a.min(b), a.max(b));
        let pair = u64::from(low.0) << 32 | u64::from(high.0);
        let chance = mix(pair ^ mix(seed));
        match self {
            Self::Static(latency) => micros(*latency),
            Self::Dynamic { min, max } => {
                let (min, max) = (micros(*min), micros(*max));
                min + scale(chance, max.saturating_sub(min))
            }
            Self::LogNormal { median, sigma, max } => {
                // Box and Muller.
                let (first, second) = (unit(chance), unit(mix(chance)));
                let normal = (-2.0 * (1.0 - first).ln()).sqrt() * (TAU * second).cos();
                let latency = median.as_secs_f64() * 1e6 * (sigma * normal).exp();
                (latency as Time).min(micros(*max))
            }
            Self::Regions {
                shares,
                matrix,
                spread,
            } => {
                let (from, to) = (
                    region(low, seed, shares, matrix.len()),
                    region(high, seed, shares, matrix.len()),
                );
                let factor = 1.0 + spread * (2.0 * unit(chance) - 1.0);
                (matrix[from][to] * 1e3 * factor) as Time
            }
        }
    }
}

/// The region that a node is in.
fn region(node: NodeId, seed: u64, shares: &[f64], count: usize) -> usize {
    let chance = mix(u64::from(node.0).wrapping_add(seed.rotate_left(32)));
    if shares.is_empty() {
        return scale(chance, count as u64) as usize;
    }
    let mut left = unit(chance) * shares.iter().sum::<f64>();
    let place = shares.iter().position(|share| {
        left -= share;
        left < 0.0
    });
    place.unwrap_or(count - 1)
}

fn mix(number: u64) -> u64 {
    spread(number.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// A number below `end`.
fn scale(chance: u64, end: u64) -> u64 {
    ((u128::from(chance) * u128::from(end)) >> 64) as u64
}

/// A number from zero to one.
fn unit(chance: u64) -> f64 {
    (chance >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(latency: &Latency) -> Vec<Time> {
        let pairs = (0..20_000u32).map(|node| (NodeId(node), NodeId(node * 7 + 1)));
        let mut all: Vec<Time> = pairs.map(|(a, b)| latency.between(a, b, 5)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_pair_has_one_latency_both_ways() {
        for latency in [Latency::default(), Latency::world()] {
            let there = latency.between(NodeId(3), NodeId(900), 1);
            assert_eq!(there, latency.between(NodeId(900), NodeId(3), 1));
            assert!(there > 0 && there <= micros(latency.max()), "{there}");
        }
    }

    #[test]
    fn distributions_have_their_shape() {
        let uniform = sample(&Latency::default());
        assert!(uniform[0] < 11_000 && uniform[19_999] > 99_000 && uniform[19_999] < 100_000);
        assert!((54_000..56_000).contains(&uniform[10_000]));
        let normal = sample(&Latency::LogNormal {
            median: Duration::from_millis(40),
            sigma: 0.5,
            max: Duration::from_millis(500),
        });
        assert!((39_000..41_000).contains(&normal[10_000]));
        let beyond = normal.iter().filter(|at| **at > 108_700).count();
        assert!((400..600).contains(&beyond), "{beyond}");
    }

    #[test]
    fn nonsense_is_refused() {
        let regions = |matrix, shares| Latency::Regions {
            matrix,
            shares,
            spread: 0.0,
        };
        assert!(regions(vec![vec![1.0, 2.0]], vec![]).check().is_err());
        assert!(regions(vec![vec![1.0]], vec![0.5, 0.5]).check().is_err());
        assert!(regions(vec![vec![f64::NAN]], vec![]).check().is_err());
        for ms in [f64::INFINITY, f64::MAX, -1.0, 1e9] {
            assert!(regions(vec![vec![ms]], vec![]).check().is_err(), "{ms}");
        }
        let never = Latency::Static(Duration::MAX);
        assert!(never.check().is_err());
        assert!(Latency::world().check().is_ok() && Latency::default().check().is_ok());
    }
}
