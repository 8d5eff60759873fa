//! `smol-gossip-sim`: the protocol in simulated networks, from the command line.

mod compare;
mod curve;
mod file;
mod paper;
mod plot;
mod progress;
mod report;
mod run;
mod scale;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs the gossip protocol in simulated networks.
#[derive(Debug, Parser)]
#[command(name = "smol-gossip-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the scenarios of a file.
    Run(run::Args),
    /// Compares two folders of results; exit code 1 says that something is worse.
    Compare(compare::Args),
    /// Writes a page with plots.
    Report(report::Args),
    /// Runs the set-up of a paper, and prints ours beside the paper's and upstream's figures.
    Paper(paper::Args),
    /// Measures swarms of growing size.
    Scale(scale::Args),
    /// Draws what was measured of swarms of growing size, and fits how it grows.
    Curve(curve::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Report(args) => args.run(),
        Command::Paper(args) => args.run(),
        Command::Scale(args) => args.run(),
        Command::Curve(args) => args.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// What goes wrong, in words for whoever called.
type Outcome = Result<ExitCode, String>;

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn a_swarm_has_two_nodes_at_least() {
        let commands: [&[&str]; 4] = [
            &["scale"],
            &["paper", "hyparview"],
            &["paper", "plumtree"],
            &["report"],
        ];
        for command in commands {
            let parse = |nodes| {
                let words = ["smol-gossip-sim"].iter().chain(command);
                Cli::try_parse_from(words.copied().chain(["--nodes", nodes]))
            };
            for few in ["0", "1"] {
                let error = parse(few).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{error}");
            }
            assert!(parse("2").is_ok(), "{command:?}");
        }
    }
}
