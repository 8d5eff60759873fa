//! What other configurations would do, side by side.

use std::fmt::Write;

use rayon::prelude::*;
use smol_gossip::sim::{
    NetworkConfig, Noticed,
    paper::{SetUp, one_by_one},
    scenario::Kind,
};

/// A configuration by its name, and what is different about it.
struct Choice {
    name: &'static str,
    active: usize,
    passive: usize,
    /// How many times as often as by default Shuffles are sent.
    shuffles: u32,
}

const fn views(name: &'static str, active: usize, passive: usize) -> Choice {
    Choice {
        name,
        active,
        passive,
        shuffles: 1,
    }
}

const CHOICES: [Choice; 6] = [
    views("3 neighbors, 18 in reserve", 3, 18),
    views("4 neighbors, 24 in reserve", 4, 24),
    views("5 neighbors, 30 in reserve (default)", 5, 30),
    views("7 neighbors, 42 in reserve", 7, 42),
    views("10 neighbors, 60 in reserve", 10, 60),
    Choice {
        name: "default, Shuffles four times as often",
        active: 5,
        passive: 30,
        shuffles: 4,
    },
];

/// Figures of one configuration, in the order of [`COLUMNS`].
type Figures = [f64; 8];

/// Names, decimals, and whether more is better.
const COLUMNS: [(&str, usize, bool); 8] = [
    ("time until all have it, ms", 0, false),
    ("hops to the last", 1, false),
    ("copies too many", 3, false),
    ("announcements per delivery", 2, false),
    ("messages at rest, per node and minute", 1, false),
    ("reached after 50 % failed, %", 2, true),
    ("reached after 80 % failed, %", 2, true),
    ("until whole again, s", 0, false),
];

/// A table of configurations, the best of each column marked.
pub(super) fn section(set_up: &SetUp, tell: impl Fn() + Sync) -> Result<String, String> {
    let rows: Vec<Figures> = CHOICES
        .par_iter()
        .map(|choice| {
            let figures = choice.measure(set_up);
            tell();
            figures
        })
        .collect::<Result<_, _>>()?;
    let mut html = String::from(
        "<h2>Which configuration?</h2><p>The same swarm with other views. Senders change with every \
         message. Failures are noticed on send only. The share of survivors reached is that of messages \
         sent within half a cycle after the failure and counted at the end of that cycle, while nodes go \
         on to shuffle. The best of each column is bold.</p><div class=\"wide\"><table><tr><th>configuration</th>",
    );
    for (name, ..) in COLUMNS {
        let _ = write!(html, "<th>{name}</th>");
    }
    html += "</tr>";
    for (choice, row) in CHOICES.iter().zip(&rows) {
        let _ = write!(html, "<tr><td>{}</td>", choice.name);
        for (column, (_, digits, more_is_better)) in COLUMNS.into_iter().enumerate() {
            let best = rows
                .iter()
                .map(|row| row[column])
                .reduce(match more_is_better {
                    true => f64::max,
                    false => f64::min,
                });
            let figure = shown(row[column], digits);
            let is_best = best.is_some_and(|best| shown(best, digits) == figure);
            let tag = if is_best { "b" } else { "span" };
            let _ = write!(html, "<td><{tag}>{figure}</{tag}></td>");
        }
        html += "</tr>";
    }
    html += "</table></div><ul>\
        <li><b>Stay with the default</b> unless a column here tells you otherwise for your swarm.</li>\
        <li><b>More neighbors</b> (<code>membership.active_view_capacity</code>) make for fewer hops and \
        survive more failures at once. Each is one more connection to keep, and one more announcement \
        of every message.</li>\
        <li><b>Fewer neighbors</b> suit small devices and quiet topics: fewer connections, longer ways. \
        With three, messages take twice as long to reach everyone.</li>\
        <li><b>A larger reserve</b> (<code>passive_view_capacity</code>, about six times the neighbors) \
        costs memory alone, and is what a swarm heals from.</li>\
        <li><b>Shuffles more often</b> (<code>shuffle_interval</code>) refresh the reserve where nodes come \
        and go all the time, and are paid for in messages at rest.</li></ul>";
    Ok(html)
}

fn shown(figure: f64, digits: usize) -> String {
    if figure.is_finite() {
        format!("{figure:.digits$}")
    } else {
        "never".into()
    }
}

impl Choice {
    fn measure(&self, set_up: &SetUp) -> Result<Figures, String> {
        let mut config = NetworkConfig::default();
        let membership = &mut config.proto.membership;
        membership.active_view_capacity = self.active;
        membership.passive_view_capacity = self.passive;
        membership.shuffle_interval /= self.shuffles;
        let interval = membership.shuffle_interval.as_secs_f64();
        let (network, overlay) = set_up.stable(&one_by_one(), config)?;
        let trees = set_up.trees(network.clone(), Kind::GossipMulti, set_up.messages / 4);
        let failures = [0.5, 0.8].map(|share| {
            let failure = set_up.failure(network.clone(), share, Noticed::OnSend);
            let heals = failure.healed_after.map_or(f64::INFINITY, f64::from) * interval;
            (failure.mean_reliability() * 100.0, heals)
        });
        Ok([
            trees.mean.duration_ms,
            trees.mean.ldh,
            trees.mean.rmr.max(0.0),
            trees.mean.control,
            overlay.messages_per_cycle * 60.0 / interval,
            failures[0].0,
            failures[1].0,
            failures[1].1,
        ])
    }
}
