//! `compare`: two folders of results, with the differences marked.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value;
use smol_gossip::sim::{
    compare::{Verdict, compare},
    scenario::Scenario,
};

use crate::{Outcome, run::Results, table::Table};

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The results before, as `run --out` wrote them.
    before: PathBuf,
    /// The results after.
    after: PathBuf,
}

impl Args {
    /// Fails with exit code 1 when a figure is worse beyond its tolerance, or a scenario is gone; and
    /// with an error when the same name stands for something else before and after.
    pub(crate) fn run(self) -> Outcome {
        let (before, after) = (load(&self.before)?, load(&self.after)?);
        let mut table = Table::new(["scenario", "figure", "before", "after", "change", ""]);
        let mut worse = 0;
        let mut others = Vec::new();
        for (label, before) in &before {
            let Some(after) = after.get(label) else {
                worse += 1;
                table.row([label.clone(), "is gone".into()]);
                continue;
            };
            let other = what_differs(before, after)?;
            if !other.is_empty() {
                table.row([label.clone(), "is another".into()]);
                others.push(format!("{label} ({})", other.join(", ")));
                continue;
            }
            let differences = compare(&before.average.mean, &after.average.mean);
            for (index, one) in differences.into_iter().enumerate() {
                let mark = match one.verdict {
                    Verdict::Better => "better",
                    Verdict::Same => "",
                    Verdict::Worse => "WORSE",
                };
                worse += usize::from(one.verdict == Verdict::Worse);
                let change = match one.before {
                    0.0 => format!("{:+.3}", one.after),
                    before => format!("{:+.1} %", (one.after / before - 1.0) * 100.0),
                };
                table.row([
                    if index == 0 {
                        label.clone()
                    } else {
                        String::new()
                    },
                    one.figure.into(),
                    format!("{:.4}", one.before),
                    format!("{:.4}", one.after),
                    change,
                    mark.into(),
                ]);
            }
        }
        for label in after.keys().filter(|label| !before.contains_key(*label)) {
            table.row([label.clone(), "is new".into()]);
        }
        table.print();
        if worse > 0 {
            println!("\n{worse} figures are worse");
        }
        if !others.is_empty() {
            let others = others.join("; ");
            return Err(format!(
                "not the same before and after, so not compared: {others}"
            ));
        }
        Ok(match worse {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(1),
        })
    }
}

/// The parameters that are not the same, `seeds` among them: what figures depend on, besides the code.
fn what_differs(before: &Results, after: &Results) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let [one, other] = [parameters(&before.scenario)?, parameters(&after.scenario)?];
    add_differences("", &one, &other, &mut found);
    if !before.results.keys().eq(after.results.keys()) {
        found.push("seeds".into());
    }
    Ok(found)
}

/// The parameters of a scenario. Its name is none, and a configuration that is left out is the default.
fn parameters(scenario: &Scenario) -> Result<Value, String> {
    let whole = Scenario {
        name: None,
        config: Some(scenario.config.clone().unwrap_or_default()),
        ..scenario.clone()
    };
    serde_json::to_value(whole).map_err(|error| error.to_string())
}

/// Adds the paths of the fields that are not the same, and of those that only one side has.
fn add_differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    let (Value::Object(fields), Value::Object(others)) = (one, other) else {
        if one != other {
            found.push(path.to_string());
        }
        return;
    };
    let only_other = others.keys().filter(|key| !fields.contains_key(*key));
    for key in fields.keys().chain(only_other) {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let [one, other] = [fields, others].map(|all| all.get(key).unwrap_or(&Value::Null));
        add_differences(&path, one, other, found);
    }
}

/// The results in a folder, by the names of their scenarios.
pub(crate) fn load(folder: &Path) -> Result<BTreeMap<String, Results>, String> {
    let wrong = |path: &Path, what: String| format!("{}: {what}", path.display());
    let entries = fs::read_dir(folder).map_err(|error| wrong(folder, error.to_string()))?;
    let mut all = BTreeMap::new();
    for entry in entries {
        let path = entry
            .map_err(|error| wrong(folder, error.to_string()))?
            .path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if let Some(label) = name.strip_suffix(".results.json") {
            let text =
                fs::read_to_string(&path).map_err(|error| wrong(&path, error.to_string()))?;
            let results = serde_json::from_str(&text);
            all.insert(
                label.to_string(),
                results.map_err(|error| wrong(&path, error.to_string()))?,
            );
        }
    }
    if all.is_empty() {
        return Err(wrong(folder, "no results in here".into()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use smol_gossip::sim::{
        NetworkConfig,
        scenario::{Kind, Summary},
    };

    use super::*;

    fn results(scenario: Scenario, seeds: &[u64]) -> Results {
        Results {
            scenario,
            results: seeds
                .iter()
                .map(|seed| (*seed, Summary::default()))
                .collect(),
            average: Summary::default(),
        }
    }

    /// What `compare` says of results of the same name.
    fn outcome(name: &str, before: &Results, after: &Results) -> Outcome {
        let folder = env::temp_dir().join(format!("compare-{name}-{}", process::id()));
        let [before, after] = [("before", before), ("after", after)].map(|(side, results)| {
            let side = folder.join(side);
            fs::create_dir_all(&side).unwrap();
            let text = serde_json::to_string(results).unwrap();
            fs::write(side.join("one.results.json"), text).unwrap();
            side
        });
        let outcome = Args { before, after }.run();
        fs::remove_dir_all(&folder).unwrap();
        outcome
    }

    #[test]
    fn what_is_not_the_same_is_not_compared() {
        let scenario = Scenario::new(Kind::GossipMulti, 20);
        let before = results(scenario.clone(), &[1, 2]);
        let mut config = NetworkConfig::default();
        let named = Scenario {
            name: Some("one".into()),
            config: Some(config.clone()),
            ..scenario.clone()
        };
        let same = outcome("same", &before, &results(named, &[1, 2]));
        assert_eq!(same, Ok(ExitCode::SUCCESS));

        config.proto.max_message_size = 1024;
        let other = Scenario {
            rounds: 7,
            config: Some(config),
            ..scenario.clone()
        };
        let cases = [
            ("seeds", results(scenario, &[1, 3]), "one (seeds)"),
            (
                "parameters",
                results(other, &[1, 2]),
                "one (config.proto.max_message_size, rounds)",
            ),
        ];
        for (name, after, wanted) in cases {
            let error = outcome(name, &before, &after).unwrap_err();
            assert!(error.ends_with(wanted), "{error}");
        }
    }
}
