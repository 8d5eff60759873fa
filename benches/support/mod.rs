//! What the benches share: arguments, tables, what the kernel counts, nodes to measure.
//!
//! A bench here is a plain program, because its unit is a whole run: a pair of nodes is started,
//! loaded for a while, and torn down. Figures of a shared machine move by a factor of two from one
//! minute to the next, so the contestants of a row run alternately, and what counts is the ratio
//! between neighbors in time.

#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod node;
pub(crate) mod processors;
pub(crate) mod raw;
pub(crate) mod table;

use std::time::Duration;

#[allow(unused_imports, reason = "each bench uses a part")]
pub(crate) use table::{Better, Table};

/// What a bench was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// Few, short runs: a minute for all benches together.
    pub(crate) quick: bool,
    /// Write the table as Markdown.
    pub(crate) markdown: bool,
    /// Only rows whose name contains this.
    pub(crate) only: Option<String>,
    /// Runs of each contestant, unless the command line says otherwise.
    repetitions: Option<usize>,
    /// Everything else, for the bench itself.
    pub(crate) rest: Vec<String>,
}

impl Args {
    /// Reads the command line.
    pub(crate) fn from_env() -> Self {
        let mut args = Self {
            quick: false,
            markdown: false,
            only: None,
            repetitions: None,
            rest: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                // Cargo says so to everything it runs as a bench.
                "--bench" => {}
                "--quick" => args.quick = true,
                "--markdown" => args.markdown = true,
                "--only" => args.only = words.next(),
                "--repetitions" => {
                    args.repetitions = words.next().and_then(|count| count.parse().ok());
                }
                _ => args.rest.push(word),
            }
        }
        args
    }

    /// How often each contestant runs.
    pub(crate) fn repetitions(&self) -> usize {
        self.repetitions.unwrap_or(if self.quick { 3 } else { 7 })
    }

    /// One of two durations.
    pub(crate) fn time(&self, quick: Duration, full: Duration) -> Duration {
        if self.quick { quick } else { full }
    }

    /// Whether a row is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }
}

/// The value at a share of the sorted values: 0.5 is the median.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}
