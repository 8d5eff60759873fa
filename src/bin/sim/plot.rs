//! Plots as SVG, to be put into a page.

use std::fmt::Write;

/// The colors of series, told apart also by who sees few colors.
const COLORS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// What pictures look like.
pub(crate) const STYLE: &str = "text{font-family:system-ui,sans-serif}\
    .title{font-weight:600;font-size:14px}.tick,.label{font-size:11px;fill:#444}\
    .grid{stroke:#e4e4e4}.axis{stroke:#666}.ring{fill:none;stroke:#eee}\
    .lazy{stroke:#ddd;stroke-width:.8}.eager{stroke:#0072b2;stroke-width:1.6}\
    .node{fill:#0072b2}.root{fill:#d55e00}";

/// What pictures of their own add to that: paper, and other colors where it is dark.
const PAPER: &str = ".paper{fill:#fff}@media(prefers-color-scheme:dark){.paper{fill:#161b22}\
    text{fill:#e6edf3}.tick,.label{fill:#c3cbd4}.grid{stroke:#30363d}.axis{stroke:#8b949e}}";

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
/// Room for what stands left of, above, right of and below the plot.
const MARGIN: (f64, f64, f64, f64) = (58.0, 44.0, 16.0, 46.0);

/// A named series of points.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot with two axes.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) series: Vec<Series>,
    pub(crate) form: Form,
    /// What the vertical axis has to show at least.
    pub(crate) y_range: (f64, f64),
    pub(crate) scales: Scales,
}

/// How points are shown.
#[derive(Debug)]
pub(crate) enum Form {
    Lines,
    /// Bars from the axis, at 0, 1 and so on. Those without a name have no tick.
    Bars(Vec<String>),
}

/// Whether coordinates are values, or powers of ten: points are then given as logarithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scales {
    #[default]
    Linear,
    /// The horizontal axis is logarithmic.
    LogX,
    /// Both are.
    LogBoth,
    /// Both are, the points are marked, and the ticks of the horizontal axis stand at them.
    LogMarked,
}

impl Plot {
    pub(crate) fn svg(&self) -> String {
        let (left, top, right, bottom) = MARGIN;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let fold = |start: f64, by: fn(f64, f64) -> f64, of: fn(&(f64, f64)) -> f64| {
            points().map(of).fold(start, by)
        };
        let names = match &self.form {
            Form::Lines => None,
            Form::Bars(names) => Some(names),
        };
        let half = if names.is_some() { 0.5 } else { 0.0 };
        let x_min = fold(f64::INFINITY, f64::min, |point| point.0) - half;
        let x_max = fold(f64::NEG_INFINITY, f64::max, |point| point.0) + half;
        let y_min = fold(self.y_range.0, f64::min, |point| point.1);
        let y_max = fold(self.y_range.1, f64::max, |point| point.1);
        let log_x = self.scales != Scales::Linear;
        let log_y = matches!(self.scales, Scales::LogBoth | Scales::LogMarked);
        let marked = self.scales == Scales::LogMarked;
        let (x_ticks, y_ticks) = if let Some(names) = names {
            let named = (0..).map(f64::from).zip(names.iter().cloned());
            let named = named.filter(|(_, name)| !name.is_empty());
            (named.collect(), ticks(log_y, y_min, y_max))
        } else if marked {
            let mut at: Vec<f64> = points().map(|point| point.0).collect();
            at.sort_by(f64::total_cmp);
            at.dedup();
            let at_points = at.into_iter().map(|x| (x, plain(x)));
            (at_points.collect(), one_two_five(y_min, y_max))
        } else {
            (ticks(log_x, x_min, x_max), ticks(log_y, y_min, y_max))
        };
        let end = |ticks: &[(f64, String)]| ticks.last().map_or(y_max, |tick| tick.0);
        let y_max = end(&y_ticks).max(y_max);
        let y_min = match y_ticks.first() {
            Some(first) if marked => first.0,
            _ => y_min,
        };
        let place_x =
            |x: f64| left + (x - x_min) / (x_max - x_min).max(1e-9) * (WIDTH - left - right);
        let place_y = |y: f64| {
            HEIGHT - bottom - (y - y_min) / (y_max - y_min).max(1e-9) * (HEIGHT - top - bottom)
        };
        let mut svg = open(WIDTH, HEIGHT, self.title);
        text(&mut svg, left, 16.0, "start", "title", self.title);
        for (y, name) in &y_ticks {
            let at = place_y(*y);
            line(&mut svg, (left, at), (WIDTH - right, at), "grid");
            text(&mut svg, left - 6.0, at + 4.0, "end", "tick", name);
        }
        let base = HEIGHT - bottom;
        for (x, name) in x_ticks.iter().filter(|tick| tick.0 <= x_max + 1e-9) {
            let at = place_x(*x);
            line(&mut svg, (at, base), (at, base + 4.0), "axis");
            text(&mut svg, at, base + 17.0, "middle", "tick", name);
        }
        line(
            &mut svg,
            (left, HEIGHT - bottom),
            (WIDTH - right, HEIGHT - bottom),
            "axis",
        );
        text(
            &mut svg,
            (left + WIDTH - right) / 2.0,
            HEIGHT - 10.0,
            "middle",
            "label",
            self.x,
        );
        let _ = write!(
            svg,
            r#"<text class="label" text-anchor="middle" transform="translate(13,{}) rotate(-90)">{}</text>"#,
            (top + HEIGHT - bottom) / 2.0,
            escape(self.y)
        );
        let count = self.series.len() as f64;
        for (index, series) in self.series.iter().enumerate() {
            let color = COLORS[index % COLORS.len()];
            if names.is_some() {
                let width = (place_x(1.0) - place_x(0.0)) * 0.8 / count;
                for (x, y) in &series.points {
                    let from = place_x(x - 0.4) + width * index as f64;
                    let (top, base) = (place_y(*y), place_y(y_min));
                    let _ = write!(
                        svg,
                        r#"<rect x="{from:.1}" y="{top:.1}" width="{width:.1}" height="{:.1}" fill="{color}"/>"#,
                        base - top
                    );
                }
            } else {
                let points = series.points.iter();
                let path: Vec<String> = points
                    .map(|(x, y)| format!("{:.1},{:.1}", place_x(*x), place_y(*y)))
                    .collect();
                // What would be hidden shows as a rim.
                let after = self.series.iter().skip(index + 1);
                let above = after.filter(|other| other.points == series.points);
                let _ = write!(
                    svg,
                    r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="{}"/>"#,
                    path.join(" "),
                    2 + 3 * above.count()
                );
                for (x, y) in series.points.iter().filter(|_| marked) {
                    let _ = write!(
                        svg,
                        r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" fill="{color}"><title>{}: {}</title></circle>"#,
                        place_x(*x),
                        place_y(*y),
                        plain(*x),
                        plain(*y)
                    );
                }
            }
            let at = left + (WIDTH - left - right) * index as f64 / count;
            let _ = write!(
                svg,
                r#"<rect x="{at:.1}" y="22" width="10" height="10" fill="{color}"/>"#
            );
            text(&mut svg, at + 14.0, 31.0, "start", "tick", &series.name);
        }
        svg.push_str("</svg>");
        svg
    }
}

/// A drawing of a broadcast tree: the sender in the middle, and a ring for every hop. `parents` are
/// pairs of a node and who it got the message from, in the order of delivery; `lazy` are links that
/// are not part of it.
pub(crate) fn tree(root: u32, parents: &[(u32, u32)], lazy: &[(u32, u32)]) -> String {
    const SIZE: f64 = 560.0;
    let depth_of = |node: u32| {
        let mut depth = 0;
        let mut at = node;
        while let Some((_, parent)) = parents.iter().find(|(child, _)| *child == at) {
            depth += 1;
            at = *parent;
        }
        depth
    };
    let deepest = parents
        .iter()
        .map(|(node, _)| depth_of(*node))
        .max()
        .unwrap_or(1);
    // Leaves share the circle evenly, and every other node stands in the middle of its own.
    let mut angles: Vec<(u32, f64)> = Vec::new();
    fn spread(
        node: u32,
        parents: &[(u32, u32)],
        next: &mut f64,
        angles: &mut Vec<(u32, f64)>,
    ) -> f64 {
        let children: Vec<u32> = parents
            .iter()
            .filter(|p| p.1 == node)
            .map(|p| p.0)
            .collect();
        let angle = if children.is_empty() {
            *next += 1.0;
            *next
        } else {
            let all = children
                .iter()
                .map(|child| spread(*child, parents, next, angles));
            let all: Vec<f64> = all.collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        angles.push((node, angle));
        angle
    }
    let mut leaves = 0.0;
    spread(root, parents, &mut leaves, &mut angles);
    let place = |node: u32| {
        let angle = angles
            .iter()
            .find(|(other, _)| *other == node)
            .map_or(0.0, |found| found.1);
        let angle = angle / leaves.max(1.0) * std::f64::consts::TAU;
        let radius = (SIZE / 2.0 - 20.0) * f64::from(depth_of(node)) / f64::from(deepest);
        (
            SIZE / 2.0 + radius * angle.cos(),
            SIZE / 2.0 + radius * angle.sin(),
        )
    };
    let mut svg = open(SIZE, SIZE, "A broadcast tree");
    for ring in 1..=deepest {
        let radius = (SIZE / 2.0 - 20.0) * f64::from(ring) / f64::from(deepest);
        let _ = write!(
            svg,
            r#"<circle cx="{0}" cy="{0}" r="{radius:.1}" class="ring"/>"#,
            SIZE / 2.0
        );
    }
    for (a, b) in lazy {
        line(&mut svg, place(*a), place(*b), "lazy");
    }
    for (node, parent) in parents {
        line(&mut svg, place(*parent), place(*node), "eager");
    }
    for (node, _) in &angles {
        let (x, y) = place(*node);
        let class = if *node == root { "root" } else { "node" };
        let _ = write!(
            svg,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="4.5" class="{class}"><title>node {node}, hop {}</title></circle>"#,
            depth_of(*node)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">"#,
        escape(title)
    )
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    let _ = write!(
        svg,
        r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" class="{class}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let _ = write!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#,
        escape(text)
    );
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Where to put ticks, and what they say. The last is beyond the end, or at it.
fn ticks(log: bool, min: f64, max: f64) -> Vec<(f64, String)> {
    let step = if log { 1.0 } else { step(max - min) };
    let first = (min / step).ceil() as i64;
    let last = (max / step - 1e-9).ceil() as i64;
    let named = (first..=last).map(|n| n as f64 * step);
    named
        .map(|at| match log {
            true => (at, power_of_ten(at.round() as i32)),
            false => (at, number(at, step)),
        })
        .collect()
}

/// One, two and five times every power of ten, from the last below `min` to the first above `max`.
/// These are logarithms, and so are the ticks.
fn one_two_five(min: f64, max: f64) -> Vec<(f64, String)> {
    let powers = min.floor() as i32..=max.ceil() as i32;
    let all: Vec<f64> = powers
        .flat_map(|power| [1.0f64, 2.0, 5.0].map(|digit| digit.log10() + f64::from(power)))
        .collect();
    let below = all.iter().rposition(|at| *at <= min + 1e-9).unwrap_or(0);
    let above = all.iter().position(|at| *at >= max - 1e-9);
    let wanted = &all[below..=above.unwrap_or(all.len() - 1)];
    wanted.iter().map(|at| (*at, plain(*at))).collect()
}

/// What a logarithm is of, in three digits or more.
fn plain(logarithm: f64) -> String {
    let value = 10f64.powf(logarithm);
    let digits = (2 - (logarithm + 1e-9).floor() as i32).max(0);
    let text = format!("{value:.*}", digits as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

/// A round distance between ticks: about six of them.
fn step(range: f64) -> f64 {
    let rough = (range / 6.0).max(1e-6);
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

fn number(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    // No minus zero.
    let value = if value.abs() < step * 0.01 {
        0.0
    } else {
        value
    };
    format!("{value:.digits$}")
}

fn power_of_ten(power: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let minus = if power < 0 { "⁻" } else { "" };
    let digits = power.unsigned_abs().to_string();
    let digits = digits
        .bytes()
        .map(|digit| DIGITS[usize::from(digit - b'0')]);
    format!("10{minus}{}", digits.collect::<String>())
}

/// A picture of its own, of plots in two columns.
pub(crate) fn picture(plots: &[Plot]) -> String {
    let columns = plots.len().clamp(1, 2);
    let rows = plots.len().div_ceil(columns);
    let (width, height) = (columns as f64 * WIDTH, rows as f64 * HEIGHT);
    let name = match plots {
        [one] => one.title,
        _ => "plots",
    };
    let mut svg = open(width, height, name);
    let _ = write!(
        svg,
        r#"<style>{STYLE}{PAPER}</style><rect width="{width}" height="{height}" class="paper"/>"#
    );
    for (index, plot) in plots.iter().enumerate() {
        let (x, y) = (
            (index % columns) as f64 * WIDTH,
            (index / columns) as f64 * HEIGHT,
        );
        let one = plot.svg();
        let placed = format!(r#"<svg x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" "#);
        svg += &one.replacen("<svg ", &placed, 1);
    }
    svg + "</svg>\n"
}
