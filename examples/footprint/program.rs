//! What both programs do, and what Linux says of them.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode,
    address_lookup::memory::MemoryLookup,
    endpoint::{QuicTransportConfig, presets},
};
use tokio::{sync::oneshot, time::sleep};

use crate::gossip::{ALPN, TopicId, net::Gossip};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Between joining and measuring.
const SETTLING: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// How many topics.
    topics: u32,
    /// How long to measure.
    seconds: u32,
    /// Whether this is the neighbor of the process that is measured.
    pub(crate) peer: bool,
}

impl Args {
    pub(crate) fn from_env() -> Result<Self, Failure> {
        let mut args = Self {
            topics: 1,
            seconds: 10,
            peer: false,
        };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let mut number = || -> Result<u32, Failure> {
                let value = given.next().ok_or(format!("{name} needs a number"))?;
                value
                    .parse()
                    .map_err(|_| format!("{name}: {value} is no number").into())
            };
            match name.as_str() {
                "--topics" => args.topics = number()?.max(1),
                "--seconds" => args.seconds = number()?.max(1),
                "--peer" => args.peer = true,
                _ => return Err(format!("{name}? --topics N, --seconds N").into()),
            }
        }
        Ok(args)
    }

    /// The same arguments, for another process.
    pub(crate) fn to_text(&self) -> Vec<String> {
        let (topics, seconds) = (self.topics.to_string(), self.seconds.to_string());
        vec!["--topics".into(), topics, "--seconds".into(), seconds]
    }

    fn topic_ids(&self) -> impl Iterator<Item = TopicId> {
        (0..self.topics)
            .map(|number| TopicId::from(*blake3::hash(&number.to_le_bytes()).as_bytes()))
    }
}

/// An endpoint on loopback without a relay.
pub(crate) async fn bind(transport: Option<QuicTransportConfig>) -> Result<Endpoint, Failure> {
    let mut builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .alpns(vec![ALPN.to_vec()]);
    if let Some(transport) = transport {
        builder = builder.transport_config(transport);
    }
    Ok(builder.bind().await?)
}

/// Joins the topics with a neighbor, waits, and prints what that took; or is the neighbor.
pub(crate) async fn run(
    name: &str,
    args: &Args,
    gossip: &Gossip,
    endpoint: &Endpoint,
) -> Result<(), Failure> {
    if args.peer {
        return be_neighbor(args, gossip, endpoint).await;
    }
    let (mut child, id, addr) = start_neighbor(args)?;
    let lookup = MemoryLookup::new();
    lookup.add_endpoint_info(EndpointAddr::new(id).with_ip_addr(addr));
    endpoint.address_lookup()?.add(lookup);
    let mut topics = Vec::new();
    for topic in args.topic_ids() {
        topics.push(gossip.subscribe_and_join(topic, vec![id]).await?);
    }
    sleep(SETTLING).await;
    let before = Figures::now();
    sleep(Duration::from_secs(args.seconds.into())).await;
    print(name, args, &before, &Figures::now())?;
    drop(topics);
    // That is its end.
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

async fn be_neighbor(args: &Args, gossip: &Gossip, endpoint: &Endpoint) -> Result<(), Failure> {
    let mut topics = Vec::new();
    for topic in args.topic_ids() {
        topics.push(gossip.subscribe(topic, vec![]).await?);
    }
    let addr = endpoint
        .bound_sockets()
        .first()
        .copied()
        .ok_or("no socket")?;
    println!("{} {addr}", endpoint.id());
    let (ended, end) = oneshot::channel();
    thread::spawn(move || {
        // Whatever comes: this is about the end of it.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    Ok(end.await?)
}

fn start_neighbor(args: &Args) -> Result<(Child, EndpointId, SocketAddr), Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args.to_text())
        .arg("--peer")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().ok_or("no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let (id, addr) = line
        .trim()
        .split_once(' ')
        .ok_or("the neighbor did not start")?;
    Ok((child, id.parse()?, addr.parse()?))
}

/// What Linux counts for this process.
struct Figures {
    threads: u64,
    resident_kib: u64,
    sleeps: u64,
    cpu: Duration,
}

impl Figures {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let nanos = of_threads("schedstat", |text| text.split(' ').next()?.parse().ok());
        Self {
            threads: field(&status, "Threads:").unwrap_or(0),
            resident_kib: field(&status, "VmRSS:").unwrap_or(0),
            sleeps: of_threads("status", |text| field(text, "voluntary_ctxt_switches:")),
            cpu: Duration::from_nanos(nanos),
        }
    }
}

/// The sum over all threads.
fn of_threads(file: &str, figure: impl Fn(&str) -> Option<u64>) -> u64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let texts = threads.filter_map(|one| fs::read_to_string(one.ok()?.path().join(file)).ok());
    texts.filter_map(|text| figure(&text)).sum()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Prints what the columns mean.
#[allow(dead_code, reason = "only one of the programs prints it")]
pub(crate) fn print_head(args: &Args) {
    let (topics, seconds) = (args.topics, args.seconds);
    println!("one neighbor, {topics} topics, measured for {seconds} s");
    println!(
        "{:<12} {:>8} {:>10} {:>10} {:>10} {:>12}",
        "", "threads", "RSS KiB", "sleeps/s", "CPU µs/s", "program KiB"
    );
}

fn print(name: &str, args: &Args, before: &Figures, after: &Figures) -> Result<(), Failure> {
    let seconds = f64::from(args.seconds);
    let sleeps = after.sleeps.saturating_sub(before.sleeps) as f64 / seconds;
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / seconds;
    let program = fs::metadata(std::env::current_exe()?)?.len() / 1024;
    println!(
        "{name:<12} {:>8} {:>10} {sleeps:>10.1} {cpu:>10.0} {program:>12}",
        after.threads, after.resident_kib
    );
    Ok(())
}
