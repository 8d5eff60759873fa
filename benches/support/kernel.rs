//! What Linux counts for this process.

use std::{fs, time::Duration};

/// Time that the threads of this process have run for. Exact to a scheduler tick; threads that
/// ended are not in it, and no bench lets one end within a run.
pub(crate) fn cpu() -> Duration {
    let nanos = threads("schedstat")
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanos)
}

/// Time that the thread has run for that asks.
pub(crate) fn cpu_of_this_thread() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// How often a thread of this process went to sleep by itself.
pub(crate) fn voluntary_switches() -> u64 {
    threads("status")
        .filter_map(|text| field(&text, "voluntary_ctxt_switches:"))
        .sum()
}

/// Memory in use, in bytes.
pub(crate) fn resident() -> u64 {
    status("VmRSS:") * 1024
}

/// The most memory that was ever in use, in bytes.
pub(crate) fn resident_peak() -> u64 {
    status("VmHWM:") * 1024
}

/// UDP datagrams sent in this network namespace, by this process or others. A segmented send
/// counts once.
pub(crate) fn datagrams_sent() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    names
        .split(' ')
        .zip(values.split(' '))
        .find(|(name, _)| *name == "OutDatagrams")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0)
}

fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&text, name).unwrap_or(0)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A file of each thread.
fn threads(file: &str) -> impl Iterator<Item = String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks.filter_map(move |task| fs::read_to_string(task.ok()?.path().join(file)).ok())
}
