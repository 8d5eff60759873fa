//! `curve`: how hops, redundancy, time and memory grow with the swarm.

use std::{fs, path::PathBuf, process::ExitCode};

use crate::{
    Outcome,
    plot::{Form, Plot, Scales, Series, picture},
    scale::{self, Measured},
};

/// Arguments of `curve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `scale --out` has written.
    file: PathBuf,
    /// Where to draw the curves.
    #[arg(long)]
    svg: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let all = scale::read(&self.file)?;
        scale::print(&all);
        let laws: [(&str, Figure); 3] = [
            ("LDH", |one| one.ldh),
            ("path", |one| one.path),
            ("time ms", |one| one.time_ms),
        ];
        println!();
        for (name, figure) in laws {
            let points = all
                .iter()
                .map(|one| (f64::from(one.nodes).log10(), figure(one)));
            let Some(law) = Line::fit(&points.collect::<Vec<_>>()) else {
                return Err("a law takes two sizes at least".into());
            };
            println!(
                "{name} ≈ {:.2} + {:.2} · log₁₀ n, off by {:.2} at most; \
                 10⁷ nodes: {:.1}, 10⁸ nodes: {:.1}",
                law.offset,
                law.slope,
                law.off_by,
                law.at(7.0),
                law.at(8.0)
            );
        }
        if let Some(svg) = &self.svg {
            let text = picture(&plots(&all));
            fs::write(svg, text).map_err(|error| format!("{}: {error}", svg.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

type Figure = fn(&Measured) -> f64;

/// A straight line through points.
#[derive(Clone, Copy, Debug)]
struct Line {
    offset: f64,
    slope: f64,
    /// How far the point is that is the furthest away.
    off_by: f64,
}

impl Line {
    /// The one with the least squares. There must be two places at least.
    fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        if points.is_empty() || spread == 0.0 {
            return None;
        }
        let common: f64 = points
            .iter()
            .map(|(x, y)| (x - mean_x) * (y - mean_y))
            .sum();
        let slope = common / spread;
        let mut line = Self {
            offset: mean_y - slope * mean_x,
            slope,
            off_by: 0.0,
        };
        let off = points.iter().map(|(x, y)| (line.at(*x) - y).abs());
        line.off_by = off.fold(0.0, f64::max);
        Some(line)
    }

    fn at(&self, x: f64) -> f64 {
        self.offset + self.slope * x
    }
}

fn plots(all: &[Measured]) -> [Plot; 4] {
    let series = |name: &str, figure: &dyn Fn(&Measured) -> f64| {
        let points = all
            .iter()
            .map(|one| (f64::from(one.nodes).log10(), figure(one)));
        Series {
            name: name.into(),
            points: points.collect(),
        }
    };
    let fitted = |name: &str, figure: &dyn Fn(&Measured) -> f64| {
        let measured = series(name, figure);
        let ends = [2.0, 8.0];
        let law = Line::fit(&measured.points);
        let law = Series {
            name: format!("{name}: law"),
            points: law.map_or(Vec::new(), |law| ends.map(|x| (x, law.at(x))).to_vec()),
        };
        [measured, law]
    };
    let plot = |title, y, series: Vec<Series>, scales| Plot {
        title,
        x: "nodes",
        y,
        series,
        form: Form::Lines,
        y_range: (0.0, 0.0),
        scales,
    };
    let [hops, hops_law] = fitted("last hop", &|one| one.ldh);
    let [path, path_law] = fitted("shortest path", &|one| one.path);
    let memory = |one: &Measured| (f64::from(one.nodes) * one.bytes_per_node as f64 / 1e6).log10();
    [
        plot(
            "Hops follow the logarithm",
            "hops",
            vec![hops, hops_law, path, path_law],
            Scales::LogX,
        ),
        plot(
            "Time until all have it",
            "virtual milliseconds",
            fitted("time", &|one| one.time_ms).into(),
            Scales::LogX,
        ),
        plot(
            "Redundancy, ten senders in turn",
            "RMR",
            vec![series("RMR", &|one| one.rmr)],
            Scales::LogX,
        ),
        plot(
            "Cost of the simulation",
            "",
            vec![
                series("seconds", &|one| one.seconds.max(0.1).log10()),
                series("memory, MB", &memory),
            ],
            Scales::LogBoth,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let law = Line::fit(&[(2.0, 7.0), (3.0, 9.0), (4.0, 11.0)]).unwrap();
        assert!((law.offset - 3.0).abs() < 1e-9 && (law.slope - 2.0).abs() < 1e-9);
        assert!(law.off_by < 1e-9 && (law.at(8.0) - 19.0).abs() < 1e-9);
        assert!(Line::fit(&[(2.0, 7.0)]).is_none());
        assert!(Line::fit(&[]).is_none());
    }
}
