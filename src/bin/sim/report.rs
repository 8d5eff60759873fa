//! `report`: one page with plots that stands on its own.

mod choice;

use std::{fmt::Write, fs, path::PathBuf, process::ExitCode, time::Duration};

use rayon::prelude::*;
use smol_gossip::sim::{
    Chance, Network, NetworkConfig, NodeId, Noticed,
    paper::{Failure, Membership, SetUp, one_by_one},
    scenario::{Bootstrap, Kind, Round, Summary, play, random_node},
};

use crate::{
    Outcome, compare,
    plot::{self, Form, Plot, Scales, Series, escape, tree},
    progress,
};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write the page.
    #[arg(short, long, default_value = "report.html")]
    out: PathBuf,
    /// How many nodes the swarms have.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..))]
    nodes: u32,
    /// Chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder of results of `run`, to be shown as a table.
    #[arg(long)]
    results: Option<PathBuf>,
}

const SHARES: [f64; 6] = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95];

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;\
color:#1b1b1b;background:#fff}h1,h2{line-height:1.2}.plots{display:grid;grid-template-columns:\
repeat(auto-fit,minmax(460px,1fr));gap:1rem}figure{margin:0;border:1px solid #ddd;border-radius:6px;padding:.6rem}\
figcaption{font-size:.9rem;color:#444}svg{width:100%;height:auto}table{border-collapse:collapse;font-size:.92rem}td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;\
text-align:right}td:first-child,th:first-child{text-align:left}th{vertical-align:bottom}.wide{overflow-x:auto}\
.facts{display:flex;flex-wrap:wrap;gap:1rem;padding:0}.facts li{list-style:none;flex:1 1 150px;background:#f4f6f8;\
border-radius:6px;padding:.6rem .8rem}.facts b{display:block;font-size:1.5rem}";

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let set_up = SetUp {
            nodes: self.nodes,
            cycles: 50,
            messages: 60,
            seed: self.seed,
        };
        let (network, membership) = set_up.stable(&one_by_one(), NetworkConfig::default())?;
        let jobs: Vec<_> = [Noticed::AtOnce, Noticed::OnSend]
            .into_iter()
            .flat_map(|noticed| SHARES.map(|share| (noticed, share)))
            .collect();
        let bar = progress::bar(jobs.len() as u64 + 6);
        let failures: Vec<Failure> = jobs
            .into_par_iter()
            .map(|(noticed, share)| {
                let failure = set_up.failure(network.clone(), share, noticed);
                bar.inc(1);
                failure
            })
            .collect();
        let choice = choice::section(&set_up, || bar.inc(1))?;
        bar.finish_and_clear();
        let single = set_up.trees(network.clone(), Kind::GossipSingle, 0);
        let multi = set_up.trees(network.clone(), Kind::GossipMulti, 0);

        let mut page = String::new();
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>smol-gossip, simulated</title><style>{STYLE}{}</style>\
             <h1>smol-gossip, simulated</h1><p>{} nodes with the default configuration, latencies of \
             10 to 100 ms from node to node, seed {}. A cycle is a shuffle interval (60 s). Failures \
             are of a share of all nodes, all at once.</p>",
            plot::STYLE,
            self.nodes,
            self.seed
        );
        page += &facts(&multi, &membership, &failures);
        page += &choice;
        section(
            &mut page,
            "How messages spread",
            &[
                (
                    over_rounds(
                        "Redundancy (RMR)",
                        "payloads beyond one per node",
                        [&single, &multi],
                        |r| r.rmr,
                    ),
                    "Zero is a perfect tree: a node gets each message once. The first message, which floods the overlay and leaves the tree behind, is not shown; it comes to about three. With a different sender each time the same tree is used from elsewhere.",
                ),
                (
                    over_rounds("Last delivery hop (LDH)", "hops", [&single, &multi], |r| {
                        r.ldh
                    }),
                    "The hops to the node that is the furthest away. The first send is hop 1.",
                ),
                (
                    over_rounds(
                        "Time until all have it",
                        "milliseconds",
                        [&single, &multi],
                        |r| r.duration_ms,
                    ),
                    "Compare it with the latency between two nodes: 55 ms on average.",
                ),
                (
                    latencies(&network, self.seed),
                    "When nodes get a message, over the tree of a sender that has sent before.",
                ),
            ],
        );
        section(
            &mut page,
            "After a mass failure",
            &[
                (
                    reliabilities(&failures, Noticed::AtOnce, "Failures are reported at once"),
                    "The share of survivors that each message reaches, by how many nodes failed. The messages are sent one after the other within half a cycle after the failure, and counted at the end of the cycle, while nodes go on to shuffle. Lines that are the same are drawn around each other; where one drops, the sender is alone.",
                ),
                (
                    reliabilities(&failures, Noticed::OnSend, "Failures show on send only"),
                    "The same where a failed neighbor is only noticed when something is sent to it.",
                ),
                (
                    healing(&failures),
                    "Cycles until messages reach 99.5 % of the survivors again; 13 stands for more than twelve. A survivor all of whose neighbors and reserve are dead, and whom no survivor knows, stays alone until the application lets it join again; in a small swarm that is seen here.",
                ),
            ],
        );
        let overlay = &membership.overlay;
        let _ = write!(
            page,
            "<h2>The overlay, and a tree on it</h2><div class=\"plots\"><figure>{}<figcaption>How many \
             neighbors nodes have; {} is a full active view. From one node to another it is {:.2} hops on \
             the shortest path, and {} at most; of a node's neighbors, {:.2} % know each \
             other.</figcaption></figure><figure>{}<figcaption>A swarm of fifty: the sender is in the \
             middle, each ring is a hop, grey links carry announcements only.</figcaption></figure></div>",
            degrees(&overlay.degrees).svg(),
            overlay.degrees.len() - 1,
            overlay.shortest_path,
            overlay.diameter,
            overlay.clustering * 100.0,
            draw_tree(self.seed)?
        );
        if let Some(folder) = &self.results {
            page += &results_table(folder)?;
        }
        page += "</html>\n";
        fs::write(&self.out, page).map_err(|error| format!("{}: {error}", self.out.display()))?;
        println!("{}", self.out.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// The page in a few numbers.
fn facts(trees: &Summary, membership: &Membership, failures: &[Failure]) -> String {
    let halved = failures
        .iter()
        .find(|failure| failure.share == 0.5 && failure.noticed == Noticed::OnSend);
    // The first message is the flood.
    let settled = Summary::of(&trees.rounds[1..]).mean;
    let facts = [
        (
            format!("{:.0} ms", settled.duration_ms),
            "until a message has reached everyone",
        ),
        (format!("{:.1}", settled.ldh), "hops to the last one"),
        (
            format!("{:.3}", 1.0 + settled.rmr.max(0.0)),
            "copies of a message that a node gets",
        ),
        (
            format!("{:.1}", membership.messages_per_cycle),
            "messages per node and minute at rest",
        ),
        (
            format!(
                "{:.2} %",
                halved.map_or(1.0, Failure::mean_reliability) * 100.0
            ),
            "of the survivors reached by the first messages after half of all nodes died",
        ),
    ];
    let mut html = String::from("<ul class=\"facts\">");
    for (figure, what) in facts {
        let _ = write!(html, "<li><b>{figure}</b>{what}</li>");
    }
    html + "</ul>"
}

fn section(page: &mut String, title: &str, plots: &[(Plot, &str)]) {
    let _ = write!(page, "<h2>{title}</h2><div class=\"plots\">");
    for (plot, caption) in plots {
        let svg = plot.svg();
        let _ = write!(
            page,
            "<figure>{svg}<figcaption>{caption}</figcaption></figure>"
        );
    }
    page.push_str("</div>");
}

fn over_rounds(
    title: &'static str,
    y: &'static str,
    summaries: [&Summary; 2],
    figure: fn(&Round) -> f64,
) -> Plot {
    let names = ["one sender", "a different sender each time"];
    let series = names
        .into_iter()
        .zip(summaries)
        .map(|(name, summary)| Series {
            name: name.into(),
            points: points(summary.rounds.iter().map(figure)).split_off(1),
        });
    Plot {
        title,
        x: "message",
        y,
        series: series.collect(),
        form: Form::Lines,
        y_range: (0.0, 0.0),
        scales: Scales::Linear,
    }
}

fn points(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
    let numbered = values.into_iter().enumerate();
    numbered
        .map(|(index, value)| (index as f64, value))
        .collect()
}

fn degrees(histogram: &[usize]) -> Plot {
    Plot {
        title: "Neighbors",
        x: "neighbors",
        y: "nodes",
        series: vec![Series {
            name: "nodes".into(),
            points: points(histogram.iter().map(|count| *count as f64)),
        }],
        form: Form::Bars(
            (0..histogram.len())
                .map(|count| count.to_string())
                .collect(),
        ),
        y_range: (0.0, 1.0),
        scales: Scales::Linear,
    }
}

fn latencies(network: &Network, seed: u64) -> Plot {
    const BIN_MS: u64 = 20;
    let mut network = network.clone();
    network.trace(true);
    let mut chance = Chance::new(seed);
    let sender = random_node(&network, &mut chance);
    for _ in 0..3 {
        play(&mut network, sender.as_slice(), 64, Duration::from_secs(10));
    }
    let message = network.messages().last().and_then(|message| message.tree());
    let mut bins = Vec::new();
    for (_, _, after) in message.into_iter().flatten() {
        let bin = (after.as_millis() as u64 / BIN_MS) as usize;
        if bins.len() <= bin {
            bins.resize(bin + 1, 0.0);
        }
        bins[bin] += 1.0;
    }
    let times = (0..bins.len() as u64).map(|bin| match bin % 5 {
        0 => (bin * BIN_MS).to_string(),
        _ => String::new(),
    });
    Plot {
        title: "Delivery times",
        x: "milliseconds, in steps of 20",
        y: "nodes",
        series: vec![Series {
            name: "nodes".into(),
            points: points(bins),
        }],
        form: Form::Bars(times.collect()),
        y_range: (0.0, 1.0),
        scales: Scales::Linear,
    }
}

fn reliabilities(failures: &[Failure], noticed: Noticed, title: &'static str) -> Plot {
    let wanted = failures.iter().filter(|failure| failure.noticed == noticed);
    Plot {
        title,
        x: "message after the failure",
        y: "share of survivors reached",
        series: wanted
            .map(|failure| Series {
                name: percent(failure.share),
                points: points(failure.reliability.iter().copied()),
            })
            .collect(),
        form: Form::Lines,
        y_range: (0.0, 1.0),
        scales: Scales::Linear,
    }
}

fn healing(failures: &[Failure]) -> Plot {
    let series = [(Noticed::AtOnce, "at once"), (Noticed::OnSend, "on send")];
    let cycles = |failure: &Failure| f64::from(failure.healed_after.unwrap_or(13));
    Plot {
        title: "Healing",
        x: "share of all nodes that fail",
        y: "cycles",
        series: series
            .into_iter()
            .map(|(noticed, name)| {
                let wanted = failures.iter().filter(|failure| failure.noticed == noticed);
                Series {
                    name: name.into(),
                    points: points(wanted.map(cycles)),
                }
            })
            .collect(),
        form: Form::Bars(SHARES.map(percent).to_vec()),
        y_range: (0.0, 2.0),
        scales: Scales::Linear,
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn draw_tree(seed: u64) -> Result<String, String> {
    let mut network = Network::new(NetworkConfig::default(), seed)?;
    let mut chance = Chance::new(seed);
    let nodes = Bootstrap::Single.run(&mut network, 50, &mut chance);
    network.run_for(Duration::from_secs(300));
    network.trace(true);
    let sender = nodes[0];
    for _ in 0..5 {
        play(&mut network, &[sender], 64, Duration::from_secs(10));
    }
    let message = network.messages().last().ok_or("nothing was sent")?;
    let tree_links: Vec<(u32, u32)> = message
        .tree()
        .into_iter()
        .flatten()
        .map(|(to, from, _): (NodeId, NodeId, _)| (to.0, from.0))
        .collect();
    let all = nodes
        .iter()
        .flat_map(|node| network.neighbors(*node).map(|other| (node.0, other.0)));
    let lazy: Vec<(u32, u32)> = all
        .filter(|(a, b)| {
            a < b && !tree_links.contains(&(*a, *b)) && !tree_links.contains(&(*b, *a))
        })
        .collect();
    Ok(tree(sender.0, &tree_links, &lazy))
}

fn results_table(folder: &std::path::Path) -> Result<String, String> {
    let mut table = String::from(
        "<h2>Scenarios</h2><table><tr><th>scenario</th><th>seeds</th><th>RMR</th><th>LDH</th>\
         <th>missed</th><th>time, ms</th><th>reliability</th></tr>",
    );
    for (label, results) in compare::load(folder)? {
        let mean = results.average.mean;
        let _ = write!(
            table,
            "<tr><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.1}</td><td>{:.2}</td><td>{:.0}</td><td>{:.5}</td></tr>",
            escape(&label),
            results.results.len(),
            mean.rmr,
            mean.ldh,
            mean.missed,
            mean.duration_ms,
            mean.reliability
        );
    }
    Ok(table + "</table>")
}
