//! How the cost of a message grows with topics, neighbors, subscribers and its size.
//!
//! Every curve has one thing grow and the rest stay. Its rows say what a message costs in processor
//! time, what that is for a unit of what grows, and how the one grows beside the other from each
//! point to the next: 1 is growth in proportion, below it the cost grows slower than its input.
//!
//! ```sh
//! cargo bench --bench curves -- --quick
//! cargo bench --bench curves -- --markdown --svg docs/curves > curves.md
//! cargo bench --bench curves -- --only neighbors
//! # One contestant at one point for 3 s, for a profiler:
//! cargo bench --bench curves -- --once neighbors ours 100 3
//! ```

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "curves/hub.rs"]
mod hub;
#[path = "curves/pair.rs"]
mod pair;
#[path = "../src/bin/sim/plot.rs"]
#[allow(dead_code, reason = "the simulator draws more than curves")]
mod plot;
mod support;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use pair::Shape;
use plot::{Form, Plot, Scales, Series, picture};
use support::{
    Args, Better, Table,
    machine::{self, Machine, gossip, populated, receive},
    node::{Node, Ours, Upstream},
    quantile,
};

const NAMES: [&str; 2] = ["ours", "upstream"];

/// Messages that a bare state gets.
const EVENTS: u64 = 5_000;

/// How often a bare state is measured for one figure.
const TRIES: usize = 7;

/// Takes a point, and how long to measure.
type Cost = fn(usize, Duration) -> Result<f64, String>;

/// What a curve has in common with no other.
struct Curve {
    name: &'static str,
    title: &'static str,
    /// What grows, in the plural.
    input: &'static str,
    /// What the cost of a message is divided by, apart from nothing.
    share: Share,
    points: &'static [usize],
    /// What a message costs, for each contestant, or why it cannot be told.
    costs: [Cost; 2],
    /// How much of a microsecond the figures are.
    unit: &'static str,
}

/// A unit of the input.
struct Share {
    name: &'static str,
    /// How many units there are.
    units: fn(usize) -> f64,
}

const CURVES: &[Curve] = &[
    Curve {
        name: "topics",
        title: "Topics between two nodes, 64 B in turn on each",
        input: "topics",
        share: Share {
            name: "",
            units: |_| 1.0,
        },
        points: &[1, 10, 100, 1000],
        costs: [topics::<Ours>, topics::<Upstream>],
        unit: "CPU µs",
    },
    Curve {
        name: "neighbors",
        title: "Neighbors of the node that publishes, 64 B",
        input: "neighbors",
        share: Share {
            name: "delivery",
            units: |neighbors| neighbors as f64,
        },
        points: &[2, 5, 10, 30, 100],
        costs: [hub::run::<Ours>, hub::run::<Upstream>],
        unit: "CPU µs",
    },
    Curve {
        name: "state",
        title: "Neighbors that the bare state forwards to, 64 B",
        input: "neighbors",
        share: Share {
            name: "send",
            units: |neighbors| (neighbors - 1) as f64,
        },
        points: &[2, 5, 10, 30, 100],
        costs: [forward::<machine::Ours>, forward::<machine::Upstream>],
        unit: "ns",
    },
    Curve {
        name: "subscribers",
        title: "Subscribers of one topic on a node, 64 B",
        input: "subscribers",
        share: Share {
            name: "event",
            units: |subscribers| subscribers as f64,
        },
        points: &[1, 10, 100],
        costs: [subscribers::<Ours>, subscribers::<Upstream>],
        unit: "CPU µs",
    },
    Curve {
        name: "sizes",
        title: "Size of a message between two nodes",
        input: "bytes",
        share: Share {
            name: "KiB",
            units: |bytes| bytes as f64 / 1024.0,
        },
        points: &[64, 256, 1024, 4096, 16_384, 65_536],
        costs: [size::<Ours>, size::<Upstream>],
        unit: "CPU µs",
    },
];

fn main() {
    let args = Args::from_env();
    let pictures = match &args.rest[..] {
        [] => None,
        [mode, curve, contestant, point, seconds] if mode == "--once" => {
            return once(curve, contestant, point, seconds);
        }
        [option, folder] if option == "--svg" => Some(PathBuf::from(folder)),
        other => panic!("neither `--svg DIR` nor `--once` and what, but {other:?}"),
    };
    for curve in CURVES.iter().filter(|curve| args.wants(curve.name)) {
        let samples = measure(&args, curve);
        report(&args, curve, &samples);
        if let Some(folder) = &pictures {
            let path = folder.join(curve.name).with_extension("svg");
            let written = fs::create_dir_all(folder).and_then(|()| {
                let svg = picture(&[drawing(curve, &samples)]);
                fs::write(&path, svg)
            });
            written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// Runs one contestant at one point, for a profiler to look at.
fn once(curve: &str, contestant: &str, point: &str, seconds: &str) {
    let curve = CURVES.iter().find(|known| known.name == curve);
    let curve = curve.expect("the name of a curve");
    let contestant = NAMES.iter().position(|name| *name == contestant);
    let cost = curve.costs[contestant.expect("ours or upstream")];
    let time = Duration::from_secs_f64(seconds.parse().expect("a time in seconds"));
    let cost = cost(point.parse().expect("a count"), time);
    println!(
        "{:.3} {} for a message",
        cost.expect("a figure"),
        curve.unit
    );
}

/// By point and contestant: what a message cost in each run. Runs of a contestant that failed once
/// are left out altogether.
type Samples = Vec<[Vec<f64>; 2]>;

/// The contestants take turns at a point, and the points within a repetition.
fn measure(args: &Args, curve: &Curve) -> Samples {
    let time = args.time(Duration::from_millis(200), Duration::from_secs(1));
    let mut samples: Samples = curve.points.iter().map(|_| Default::default()).collect();
    let mut failed = vec![[false; 2]; curve.points.len()];
    for _ in 0..args.repetitions() {
        for (index, point) in curve.points.iter().enumerate() {
            for (contestant, cost) in curve.costs.iter().enumerate() {
                match cost(*point, time) {
                    Ok(cost) => samples[index][contestant].push(cost),
                    Err(error) => {
                        let (name, input) = (NAMES[contestant], curve.input);
                        assert!(contestant > 0, "{name}, {point} {input}: {error}");
                        eprintln!("{name}, {point} {input}: {error}");
                        failed[index][contestant] = true;
                    }
                }
            }
        }
    }
    for (samples, failed) in samples.iter_mut().zip(failed) {
        for (samples, _) in samples.iter_mut().zip(failed).filter(|(_, failed)| *failed) {
            samples.clear();
        }
    }
    samples
}

fn report(args: &Args, curve: &Curve, samples: &Samples) {
    let table = Table::new(args, curve.title, &NAMES);
    let (input, unit) = (curve.input, curve.unit);
    for (point, samples) in curve.points.iter().zip(samples) {
        let what = format!("{point} {input}");
        table.row(&what, &format!("{unit}/message"), Better::Lower, samples);
    }
    let Share { name, units } = curve.share;
    for (point, samples) in curve.points.iter().zip(samples) {
        if name.is_empty() {
            break;
        }
        let samples = samples
            .each_ref()
            .map(|costs| costs.iter().map(|cost| cost / units(*point)).collect());
        let what = format!("{point} {input}");
        table.row(&what, &format!("{unit}/{name}"), Better::Lower, &samples);
    }
    for (points, pair) in curve.points.windows(2).zip(samples.windows(2)) {
        let more = points[1] as f64 / points[0] as f64;
        let growth = [0, 1].map(|contestant| {
            let costs = pair[0][contestant].iter().zip(&pair[1][contestant]);
            costs.map(|(few, many)| many / few / more).collect()
        });
        let what = format!("from {} to {} {input}", points[0], points[1]);
        table.figures(&what, "growth of the cost : of the input", &growth);
    }
}

fn drawing(curve: &Curve, samples: &Samples) -> Plot {
    let series = NAMES.iter().enumerate().map(|(contestant, name)| {
        let points = curve.points.iter().zip(samples);
        let points = points.filter_map(|(point, samples)| {
            let median = quantile(&mut samples[contestant].clone(), 0.5);
            (!median.is_nan()).then(|| ((*point as f64).log10(), median.log10()))
        });
        Series {
            name: (*name).into(),
            points: points.collect(),
        }
    });
    let series: Vec<Series> = series.collect();
    let all = series.iter().flat_map(|series| &series.points);
    let least = all.map(|point| point.1).fold(f64::INFINITY, f64::min);
    Plot {
        title: curve.title,
        x: curve.input,
        y: match curve.unit {
            "ns" => "ns for a message",
            _ => "µs of processor time for a message",
        },
        series,
        form: Form::Lines,
        // What is level shall look level.
        y_range: (least, least + 1.0),
        scales: Scales::LogMarked,
    }
}

fn topics<N: Node>(topics: usize, time: Duration) -> Result<f64, String> {
    let shape = Shape {
        topics,
        ..Shape::default()
    };
    pair::run::<N>(shape, time)
}

fn subscribers<N: Node>(subscribers: usize, time: Duration) -> Result<f64, String> {
    let shape = Shape {
        subscribers,
        ..Shape::default()
    };
    pair::run::<N>(shape, time)
}

fn size<N: Node>(size: usize, time: Duration) -> Result<f64, String> {
    let shape = Shape {
        size,
        max_message_size: 128 * 1024,
        ..Shape::default()
    };
    pair::run::<N>(shape, time)
}

/// Nanoseconds for a message that arrives from one neighbor and goes on to the others: the least of
/// some runs, since such short ones are doubled where the processor is given to somebody else.
fn forward<M: Machine>(neighbors: usize, _: Duration) -> Result<f64, String> {
    let runs = (0..TRIES).map(|_| forward_once::<M>(neighbors));
    Ok(runs.fold(f64::INFINITY, f64::min))
}

fn forward_once<M: Machine>(neighbors: usize) -> f64 {
    let mut now = Instant::now();
    let mut machine: M = populated(neighbors as u64, now);
    let events = (0..EVENTS).map(|number| M::event(&receive((1, gossip(number, 64)))));
    let events: Vec<_> = events.collect();
    let begin = Instant::now();
    for event in events {
        now += Duration::from_millis(1);
        machine.handle(event, now);
    }
    begin.elapsed().as_secs_f64() * 1e9 / EVENTS as f64
}
