//! `compare`: two folders of results, with the differences marked.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use smol_gossip::sim::compare::{Verdict, compare};

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
    /// Fails with exit code 1 when a figure is worse beyond its tolerance, or a scenario is gone.
    pub(crate) fn run(self) -> Outcome {
        let (before, after) = (load(&self.before)?, load(&self.after)?);
        let mut table = Table::new(["scenario", "figure", "before", "after", "change", ""]);
        let mut worse = 0;
        for (label, before) in &before {
            let Some(after) = after.get(label) else {
                worse += 1;
                table.row([label.clone(), "is gone".into()]);
                continue;
            };
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
        Ok(match worse {
            0 => ExitCode::SUCCESS,
            _ => {
                println!("\n{worse} figures are worse");
                ExitCode::from(1)
            }
        })
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
