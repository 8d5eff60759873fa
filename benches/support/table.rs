//! Rows of figures, printed as they are complete.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Args, quantile};

/// Which figure is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// Figures of several contestants, the first of which is ours.
pub(crate) struct Table {
    markdown: bool,
    contestants: Vec<&'static str>,
}

impl Table {
    /// Begins a table, and prints its head.
    pub(crate) fn new(args: &Args, title: &str, contestants: &[&'static str]) -> Self {
        let table = Self {
            markdown: args.markdown,
            contestants: contestants.to_vec(),
        };
        if table.markdown {
            println!("### {title}\n");
            println!("{}, {} runs each\n", machine(), args.repetitions());
            println!("| what | {} |", contestants.join(" | "));
            println!("|---|{}", "---|".repeat(contestants.len()));
        } else {
            println!(
                "\n== {title}: {}, {} runs each",
                machine(),
                args.repetitions()
            );
        }
        table
    }

    /// Prints a row. Each contestant has a figure for each repetition, or none at all where it
    /// does not take part. Behind a contestant's median stands how many times better ours is: the
    /// median of the ratios within each repetition.
    pub(crate) fn row(&self, what: &str, unit: &str, better: Better, samples: &[Vec<f64>]) {
        self.print(what, unit, Some(better), samples);
    }

    /// Prints a row of figures that are not to be compared.
    pub(crate) fn figures(&self, what: &str, unit: &str, samples: &[Vec<f64>]) {
        self.print(what, unit, None, samples);
    }

    fn print(&self, what: &str, unit: &str, better: Option<Better>, samples: &[Vec<f64>]) {
        let ours = samples.first().map(Vec::as_slice).unwrap_or_default();
        let mut cells = Vec::new();
        for (index, samples) in samples.iter().enumerate() {
            let mut cell = spread(samples);
            if let Some(better) = better
                && index > 0
                && !samples.is_empty()
                && !ours.is_empty()
            {
                let mut ratios: Vec<_> = ours
                    .iter()
                    .zip(samples)
                    .map(|(ours, theirs)| match better {
                        Better::Higher => ours / theirs,
                        Better::Lower => theirs / ours,
                    })
                    .collect();
                let ratio = quantile(&mut ratios, 0.5);
                if ratio.is_finite() && ratio > 0.0 {
                    let _ = write!(cell, ", **{ratio:.2}×**");
                }
            }
            cells.push(cell);
        }
        if self.markdown {
            println!("| {what}, {unit} | {} |", cells.join(" | "));
        } else {
            println!("{what}, {unit}");
            for (name, cell) in self.contestants.iter().zip(&cells) {
                println!("    {name:<12} {}", cell.replace("**", ""));
            }
        }
    }

    /// Prints what a figure cannot say.
    pub(crate) fn note(&self, text: &str) {
        if self.markdown {
            eprintln!("{text}");
        } else {
            println!("    {text}");
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        println!();
    }
}

/// The median, and between what it moved.
fn spread(samples: &[f64]) -> String {
    if samples.is_empty() {
        return "–".into();
    }
    let mut sorted = samples.to_vec();
    let median = quantile(&mut sorted, 0.5);
    let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
    format!("{} ({}–{})", figure(median), figure(low), figure(high))
}

/// Three digits and a magnitude.
fn figure(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size > 0.0 && size < 0.1 => 3,
        _ => 2,
    };
    format!("{scaled:.digits$}{suffix}")
}

/// The date and the machine: no figure means anything without.
fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{}, {cores} × {processor}, load {load}", date())
}

/// Today in UTC, by the civil calendar.
#[expect(clippy::disallowed_methods, reason = "a bench tells the date")]
fn date() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = now.map_or(0, |now| now.as_secs() / 86_400) as i64;
    // Years begin in March here, so that the leap day is the last one.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}
