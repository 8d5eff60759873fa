//! Files of scenarios, and what is wrong with them: named by file, line and field.

use std::{fs, ops::Range, path::Path};

use serde::Deserialize;
use smol_gossip::sim::{NetworkConfig, scenario::Scenario};
use toml::Spanned;

/// A file of scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    seeds: Vec<u64>,
    config: Option<Spanned<NetworkConfig>>,
    scenario: Vec<Spanned<Scenario>>,
}

/// The scenarios of a file with the network of each, and the seeds.
#[derive(Debug)]
pub(crate) struct Scenarios {
    pub(crate) seeds: Vec<u64>,
    pub(crate) scenarios: Vec<Scenario>,
}

/// Reads a file of scenarios.
pub(crate) fn read(path: &Path) -> Result<Scenarios, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let field = field_at(&text, &span).map(|field| format!("`{field}`: "));
        format!(
            "{}: {}{}",
            place(path, &text, &span),
            field.unwrap_or_default(),
            error.message()
        )
    })?;
    let wrong = |span: Range<usize>, field: &str, why: String| {
        let line = span.start + field_offset(text.get(span.clone()).unwrap_or(""), field);
        format!("{}: `{field}`: {why}", place(path, &text, &(line..line)))
    };
    if file.seeds.is_empty() {
        return Err(format!("{name}:1: `seeds`: there must be at least one"));
    }
    if let Some(config) = &file.config {
        let check = config.get_ref().check();
        check.map_err(|why| wrong(config.span(), "config", why))?;
    }
    let base = file.config.map(Spanned::into_inner);
    let mut scenarios = Vec::new();
    for scenario in file.scenario {
        let span = scenario.span();
        let mut scenario = scenario.into_inner();
        scenario
            .check()
            .map_err(|(field, why)| wrong(span, field, why))?;
        scenario.config = scenario.config.or_else(|| base.clone());
        scenarios.push(scenario);
    }
    if scenarios.is_empty() {
        return Err(format!("{name}:1: `scenario`: there must be at least one"));
    }
    Ok(Scenarios {
        seeds: file.seeds,
        scenarios,
    })
}

fn place(path: &Path, text: &str, span: &Range<usize>) -> String {
    let before = &text.as_bytes()[..span.start.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("{}:{line}", path.display())
}

/// The field that a span is in: what stands before the `=` of its line, or inside of it.
fn field_at(text: &str, span: &Range<usize>) -> Option<String> {
    let start = text[..span.start.min(text.len())]
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?;
    let (key, _) = line.split_once('=')?;
    // Within an inline table, the last key before the span.
    let before = text.get(start..span.start)?;
    let inner = before
        .rsplit(['{', ','])
        .next()
        .and_then(|part| part.split_once('='));
    let inner = inner
        .map(|(inner, _)| inner.trim())
        .filter(|inner| *inner != key.trim());
    let outer = key.trim();
    Some(match inner {
        Some(inner) if before.contains('{') => format!("{outer}.{inner}"),
        _ => outer.to_string(),
    })
}

/// Where in a table a field is set, or its beginning.
fn field_offset(table: &str, field: &str) -> usize {
    let mut offset = 0;
    for line in table.split_inclusive('\n') {
        let key = line.split(['=', '.', ' ']).next().unwrap_or("").trim();
        if key == field {
            return offset;
        }
        offset += line.len();
    }
    0
}
