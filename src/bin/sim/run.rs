//! `run`: the scenarios of a file, for each seed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use smol_gossip::sim::scenario::{Scenario, Summary};

use crate::{Outcome, file, progress, table::Table};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file of scenarios.
    file: PathBuf,
    /// Where to put the results, one JSON file per scenario.
    #[arg(short, long)]
    out: Option<PathBuf>,
    /// Keep only means and extremes, not every round.
    #[arg(long)]
    brief: bool,
    /// Only scenarios whose name contains this; may be given more than once.
    #[arg(short, long)]
    filter: Vec<String>,
    /// One after the other.
    #[arg(short, long)]
    single_threaded: bool,
}

/// What became of a scenario.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) scenario: Scenario,
    /// By seed.
    pub(crate) results: BTreeMap<u64, Summary>,
    /// Of all seeds together.
    pub(crate) average: Summary,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let file::Scenarios { seeds, scenarios } = file::read(&self.file)?;
        let wanted = |scenario: &Scenario| {
            let label = scenario.label();
            self.filter.is_empty() || self.filter.iter().any(|part| label.contains(part.as_str()))
        };
        let (scenarios, others): (Vec<Scenario>, Vec<Scenario>) =
            scenarios.into_iter().partition(wanted);
        if scenarios.is_empty() {
            let names: Vec<String> = others.iter().map(Scenario::label).collect();
            let (file, names) = (self.file.display(), names.join(", "));
            return Err(format!(
                "{file}: no scenario is called so; there are {names}"
            ));
        }
        if let Some(out) = &self.out {
            fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
        }
        let jobs: Vec<(usize, u64)> = (0..scenarios.len())
            .flat_map(|index| seeds.iter().map(move |seed| (index, *seed)))
            .collect();
        let weight = |scenario: &Scenario| {
            let senders = match scenario.sim {
                smol_gossip::sim::scenario::Kind::GossipAll => scenario.nodes,
                _ => 1,
            };
            u64::from(scenario.nodes) * u64::from(senders)
        };
        let all = jobs.iter().map(|(index, _)| {
            let scenario = &scenarios[*index];
            weight(scenario) * u64::from(scenario.rounds + scenario.warmup)
        });
        let bar = progress::bar(all.sum());
        let play = |(index, seed): (usize, u64)| -> Result<(usize, u64, Summary), String> {
            let scenario = &scenarios[index];
            bar.set_message(scenario.label());
            let tell = |_| bar.inc(weight(scenario));
            let summary = scenario.run(seed, tell)?;
            Ok((index, seed, summary))
        };
        let played: Result<Vec<_>, String> = if self.single_threaded {
            jobs.into_iter().map(play).collect()
        } else {
            jobs.into_par_iter().map(play).collect()
        };
        bar.finish_and_clear();
        let mut by_scenario: BTreeMap<usize, BTreeMap<u64, Summary>> = BTreeMap::new();
        for (index, seed, summary) in played? {
            by_scenario.entry(index).or_default().insert(seed, summary);
        }
        let mut results: Vec<Results> = by_scenario
            .into_iter()
            .map(|(index, results)| Results {
                scenario: scenarios[index].clone(),
                average: Summary::together(results.values()),
                results,
            })
            .collect();
        print(&results);
        if self.brief {
            for one in &mut results {
                one.average.rounds.clear();
                one.results.values_mut().for_each(|one| one.rounds.clear());
            }
        }
        if let Some(out) = &self.out {
            save(&results, out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A table of all results.
fn print(results: &[Results]) {
    let mut table = Table::new([
        "scenario",
        "seeds",
        "",
        "RMR",
        "LDH",
        "missed",
        "time ms",
        "reliability",
        "control",
    ]);
    for result in results {
        let average = &result.average;
        for (name, round) in [
            ("mean", &average.mean),
            ("max", &average.max),
            ("min", &average.min),
        ] {
            let (label, seeds) = match name {
                "mean" => (result.scenario.label(), result.results.len().to_string()),
                _ => Default::default(),
            };
            table.row([
                label,
                seeds,
                name.into(),
                format!("{:.3}", round.rmr),
                format!("{:.1}", round.ldh),
                format!("{:.2}", round.missed),
                format!("{:.0}", round.duration_ms),
                format!("{:.5}", round.reliability),
                format!("{:.2}", round.control),
            ]);
        }
    }
    table.print();
}

fn save(results: &[Results], out: &Path) -> Result<(), String> {
    for result in results {
        let path = out.join(format!("{}.results.json", result.scenario.label()));
        let text = serde_json::to_string_pretty(result).map_err(|error| error.to_string())?;
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
