//! The outcome of a run, for people.

use std::{fmt::Write, time::Duration};

use crate::{run::Outcome, tally::Tally};

/// A table with a line for each node, and what there is to say about all of them.
pub(crate) fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    write_to(&mut text, outcome).expect("writing to a string does not fail");
    text
}

fn write_to(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let expected = outcome.args.expected();
    writeln!(
        text,
        "node  id          arrived          twice  redundant  hops mean/max  latency p50      p99  neighbors"
    )?;
    for (index, row) in outcome.rows.iter().enumerate() {
        let tally = &row.tally;
        writeln!(
            text,
            "{index:>4}  {}  {:<15}  {:>5}  {:>9}  {:>13}  {:>11}  {:>7}  {:>9}",
            tally.id.fmt_short(),
            format!("{} of {expected}", tally.arrived),
            tally.twice,
            row.redundant,
            hops(&[tally]),
            milliseconds(percentile(&[tally], 50)),
            milliseconds(percentile(&[tally], 99)),
            tally.neighbors.len(),
        )?;
    }
    let tallies: Vec<&Tally> = outcome.rows.iter().map(|row| &row.tally).collect();
    writeln!(
        text,
        " all              {:<15}  {:>5}  {:>9}  {:>13}  {:>11}  {:>7}  {:>9.1}",
        format!(
            "{} of {}",
            tallies.iter().map(|tally| tally.arrived).sum::<usize>(),
            expected * tallies.len()
        ),
        tallies.iter().map(|tally| tally.twice).sum::<usize>(),
        outcome.rows.iter().map(|row| row.redundant).sum::<u64>(),
        hops(&tallies),
        milliseconds(percentile(&tallies, 50)),
        milliseconds(percentile(&tallies, 99)),
        mean(tallies.iter().map(|tally| tally.neighbors.len())),
    )?;
    writeln!(text)?;
    writeln!(
        text,
        "The swarm formed in {:.2} s, and broadcast for {:.2} s.",
        outcome.forming.as_secs_f64(),
        outcome.broadcasting.as_secs_f64()
    )?;
    match outcome.threads {
        Some(1) => writeln!(text, "1 OS thread.")?,
        Some(threads) => writeln!(text, "{threads} OS threads.")?,
        None => {}
    }
    if outcome.args.counters {
        writeln!(
            text,
            "\n{:<26}  {:>10}  {:>10}",
            "counter", "forming", "then"
        )?;
        for (name, forming, then) in &outcome.counters {
            if forming + then > 0 {
                writeln!(text, "{name:<26}  {forming:>10}  {then:>10}")?;
            }
        }
    }
    Ok(())
}

/// Mean and maximum.
fn hops(tallies: &[&Tally]) -> String {
    let sum: usize = tallies.iter().map(|tally| tally.hops.sum).sum();
    let arrived: usize = tallies.iter().map(|tally| tally.arrived).sum();
    let max = tallies.iter().map(|tally| tally.hops.max).max();
    match max {
        Some(max) if arrived > 0 => format!("{:.1} / {max:>2}", sum as f64 / arrived as f64),
        _ => "-".to_owned(),
    }
}

/// The latency that this many percent of the messages stay within.
fn percentile(tallies: &[&Tally], percent: usize) -> Option<Duration> {
    let latencies = tallies.iter().flat_map(|tally| &tally.latencies);
    let mut latencies: Vec<Duration> = latencies.copied().collect();
    latencies.sort_unstable();
    let rank = (latencies.len() * percent).div_ceil(100);
    latencies.get(rank.checked_sub(1)?).copied()
}

fn milliseconds(duration: Option<Duration>) -> String {
    match duration {
        Some(duration) => format!("{:.2} ms", duration.as_secs_f64() * 1000.0),
        None => "-".to_owned(),
    }
}

fn mean(counts: impl ExactSizeIterator<Item = usize>) -> f64 {
    let len = counts.len();
    counts.sum::<usize>() as f64 / len as f64
}
