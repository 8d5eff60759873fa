//! Durations in configuration files: `"50ms"`, `"1m 30s"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Units and what they are in nanoseconds, the largest first.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a duration.
///
/// ```
/// # use std::time::Duration;
/// # use smol_gossip::sim::duration;
/// assert_eq!(duration::parse("1m 30s"), Ok(Duration::from_secs(90)));
/// assert!(duration::parse("90").is_err());
/// ```
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write a number and h, m, s, ms, us or ns");
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, after) = rest.split_at(number_end);
        let after = after.trim_start();
        let unit_end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = match unit {
            "min" => "m",
            "sec" => "s",
            "µs" => "us",
            unit => unit,
        };
        let (_, nanos) = *UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let count: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(count * nanos as f64 / 1e9).map_err(|_| wrong())?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = after.trim_start();
    }
    Ok(sum)
}

/// Writes a duration so that [`parse`] reads the same one.
///
/// ```
/// # use std::time::Duration;
/// # use smol_gossip::sim::duration;
/// assert_eq!(duration::print(Duration::from_millis(90_050)), "1m 30s 50ms");
/// ```
pub fn print(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut parts = Vec::new();
    for (name, nanos) in UNITS {
        let count = left / u128::from(nanos);
        left %= u128::from(nanos);
        if count > 0 {
            parts.push(format!("{count}{name}"));
        }
    }
    if parts.is_empty() {
        return "0s".into();
    }
    parts.join(" ")
}

/// For `#[serde(with)]`.
///
/// ```
/// # use std::time::Duration;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Wait(#[serde(with = "smol_gossip::sim::duration")] Duration);
///
/// let text = serde_json::to_string(&Wait(Duration::from_millis(50)))?;
/// assert_eq!(text, r#""50ms""#);
/// # Ok::<_, serde_json::Error>(())
/// ```
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(*duration))
}

/// For `#[serde(with)]`.
///
/// ```
/// # use std::time::Duration;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Wait(#[serde(with = "smol_gossip::sim::duration")] Duration);
///
/// let Wait(wait) = serde_json::from_str(r#""50ms""#)?;
/// assert_eq!(wait, Duration::from_millis(50));
/// # Ok::<_, serde_json::Error>(())
/// ```
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [
            ("50ms", 50),
            ("1m 30s", 90_000),
            ("0.5s", 500),
            ("2min", 120_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "50", "ms", "5 parsecs", "-1s", "1s 5"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for nanos in [0, 1, 999, 1_000_000, 90_000_000_001, 7_200_000_000_000] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse(&print(duration)), Ok(duration));
        }
    }
}
