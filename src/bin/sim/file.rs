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
            explained(error.message())
        )
    })?;
    let wrong = |span: Range<usize>, field: &str, why: String| {
        let line = span.start + field_offset(text.get(span.start..).unwrap_or(""), field);
        format!("{}: `{field}`: {why}", place(path, &text, &(line..line)))
    };
    if file.seeds.is_empty() {
        return Err(format!("{name}:1: `seeds`: there must be at least one"));
    }
    if let Some(config) = &file.config {
        let check = config.get_ref().check();
        check.map_err(|why| {
            let (field, why) = why.split_once(": ").unwrap_or(("", &why));
            // Either below a head `[config]`, or with its name before every field.
            let named = format!("\nconfig.{field}");
            let rest = text.get(config.span().start..).unwrap_or("");
            let line = match text.find(&named) {
                Some(at) => at + 1,
                None => config.span().start + field_offset(rest, field),
            };
            format!(
                "{}: `config.{field}`: {why}",
                place(path, &text, &(line..line))
            )
        })?;
    }
    let base = file.config.map(Spanned::into_inner);
    let mut scenarios = Vec::new();
    for scenario in file.scenario {
        let span = scenario.span();
        let mut scenario = scenario.into_inner();
        // What may be sent depends on the file's configuration.
        scenario.config = scenario.config.or_else(|| base.clone());
        scenario
            .check()
            .map_err(|(field, why)| wrong(span.clone(), field, why))?;
        let label = scenario.label();
        if scenarios
            .iter()
            .any(|other: &Scenario| other.label() == label)
        {
            let why = format!("another scenario is called `{label}`; give one of them a name");
            return Err(wrong(span, "name", why));
        }
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

/// The durations among the protocol's own parameters are written as its crate has them.
fn explained(message: &str) -> String {
    let hint = "a table as in `{ secs = 60, nanos = 0 }`";
    message.replace("struct Duration", hint)
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

/// Where in the table that a text begins with a field is set, or its beginning.
fn field_offset(text: &str, field: &str) -> usize {
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number > 0 && line.starts_with('[') {
            break;
        }
        let key = line.split(['=', '.', ' ']).next().unwrap_or("").trim();
        if key == field {
            return offset;
        }
        offset += line.len();
    }
    0
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    const GOOD: &str = "seeds = [1]\nconfig.latency.dynamic = { min = \"10ms\", max = \"50ms\" }\n\n\
        [[scenario]]\nsim = \"GossipSingle\"\nnodes = 20\n";

    fn read_text(name: &str, text: &str) -> Result<Scenarios, String> {
        let path = env::temp_dir().join(format!("scenarios-{name}-{}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        let read = read(&path);
        fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn a_file_is_read() {
        let read = read_text("good", GOOD).unwrap();
        assert_eq!((read.seeds.len(), read.scenarios.len()), (1, 1));
        assert!(read.scenarios[0].config.is_some(), "the file's");
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        let cases = [
            ("nodes = 20", "nodes = \"many\"", 6, "nodes"),
            ("nodes = 20", "nodes = 1", 6, "nodes"),
            ("nodes = 20", "nodse = 20", 6, "nodse"),
            ("nodes = 20", "nodes = 20\nfail = 1.5", 7, "fail"),
            ("nodes = 20", "nodes = 20\nrounds = 0", 7, "rounds"),
            ("sim = \"GossipSingle\"", "sim = \"Gossip\"", 5, "sim"),
            ("min = \"10ms\"", "min = \"10 parsecs\"", 2, "min"),
            ("min = \"10ms\"", "min = \"60ms\"", 2, "config"),
            (
                "\n\n",
                "\nconfig.proto.max_message_size = 100\n\n",
                3,
                "config.proto",
            ),
            (
                "\n\n",
                "\nconfig.proto.membership.shuffle_interval = \"60s\"\n\n",
                3,
                "secs = 60",
            ),
            (
                "nodes = 20",
                "nodes = 20\nmessage_len = 7",
                7,
                "`message_len`: must be from 8 to 4055 bytes",
            ),
            (
                "\n\n[[scenario]]\n",
                "\nconfig.proto.max_message_size = 1024\n\n[[scenario]]\nmessage_len = 984\n",
                6,
                "`message_len`: must be from 8 to 983 bytes",
            ),
            ("seeds = [1]", "seeds = []", 1, "seeds"),
            ("seeds = [1]", "seeds = 1", 1, "seeds"),
            ("sim = \"GossipSingle\"\n", "", 4, "sim"),
            ("nodes = 20", "nodes = = 20", 6, "nodes"),
            ("nodes = 20", "nodes = 20\nname = \"../a\"", 7, "name"),
            (
                "nodes = 20",
                "nodes = 20\n[[scenario]]\nsim = \"GossipSingle\"\nnodes = 20",
                7,
                "name",
            ),
        ];
        for (index, (good, bad, line, field)) in cases.into_iter().enumerate() {
            assert!(GOOD.contains(good));
            let name = format!("bad-{index}");
            let error = read_text(&name, &GOOD.replacen(good, bad, 1)).unwrap_err();
            let wanted = format!("{name}-{}.toml:{line}: ", std::process::id());
            assert!(error.contains(&wanted), "{bad}: line {line} in {error}");
            assert!(error.contains(field), "{bad}: {field} in {error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(Path::new("/no/such/file.toml")).unwrap_err();
        assert!(error.starts_with("/no/such/file.toml: "), "{error}");
    }
}
