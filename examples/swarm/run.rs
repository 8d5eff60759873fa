//! A run: bind, join, broadcast, count, stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_lite::{StreamExt, future, future::Boxed};
use indicatif::{ProgressBar, ProgressStyle};
use iroh::{
    Endpoint, EndpointId, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets,
};
use iroh_metrics::{MetricValue, MetricsGroup};
use n0_future::join_all;
use smol_gossip::{
    ALPN, Gossip, TopicId,
    api::{ApiError, GossipReceiver, GossipSender},
    net::transport_config,
};

use crate::{
    Args,
    host::{Host, Node},
    message::{Message, elapsed},
    tally::Tally,
};

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// For how long no neighbor may change before the swarm counts as formed.
const FORMED_AFTER: Duration = Duration::from_millis(300);

/// When everything has been sent, and nothing has arrived for this long, the rest is lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// How long to look out, at the end, for messages that come twice.
const AFTERMATH: Duration = Duration::from_millis(300);

/// How long the nodes may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) args: Args,
    pub(crate) rows: Vec<Row>,
    /// From the first subscription to a swarm that had settled.
    pub(crate) forming: Duration,
    /// From the first message sent to the last one received.
    pub(crate) broadcasting: Duration,
    /// OS threads of the process while all nodes ran, where the system tells.
    pub(crate) threads: Option<usize>,
    /// What all nodes together counted while the swarm formed, and from then on.
    pub(crate) counters: Vec<(String, u64, u64)>,
    /// Why the nodes did not stop cleanly.
    stop: Result<(), String>,
}

/// One node at the end of a run.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) tally: Tally,
    /// Payloads that the protocol received once more, and did not deliver.
    pub(crate) redundant: u64,
}

impl Outcome {
    /// What went wrong.
    pub(crate) fn failure(&self) -> Option<String> {
        let expected = self.args.expected();
        let sum = |field: fn(&Tally) -> usize| -> usize {
            self.rows.iter().map(|row| field(&row.tally)).sum()
        };
        let all = expected * self.rows.len();
        let lost = all - sum(|tally| tally.arrived);
        let faults = [
            (lost, "lost"),
            (sum(|tally| tally.twice), "came twice"),
            (sum(|tally| tally.stray), "were not as they were sent"),
            (
                sum(|tally| tally.lagged),
                "or more skipped by a slow receiver",
            ),
        ];
        let mut faults: Vec<String> = faults
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} of {all} messages {what}"))
            .collect();
        if let Err(reason) = &self.stop {
            faults.push(format!("the nodes did not stop: {reason}"));
        }
        (!faults.is_empty()).then(|| faults.join(", "))
    }
}

/// Runs the swarm. Fails where there is nothing to show in a table.
pub(crate) async fn run<H: Host>(host: &H, args: &Args) -> Result<Outcome, Box<dyn Error>> {
    let deadline = elapsed() + args.timeout();
    let endpoints = bind(host, args.nodes).await?;
    let mut nodes = Vec::new();
    let mut stops = Vec::new();
    for endpoint in &endpoints {
        let Node { gossip, stop } = host.start(endpoint.clone())?;
        nodes.push(gossip);
        stops.push(stop);
    }

    let began = elapsed();
    let board = Arc::new(Board::new(args, &endpoints));
    let bootstrap = endpoints[0].id();
    // A topic that nobody else can have.
    let topic = TopicId::from_bytes(*bootstrap.as_bytes());
    let mut senders = Vec::new();
    for (index, gossip) in nodes.iter().enumerate() {
        let known = if index == 0 { vec![] } else { vec![bootstrap] };
        let (sender, receiver) = gossip.subscribe(topic, known).await?.split();
        host.spawn(listen(receiver, board.clone(), index));
        senders.push(sender);
    }

    let bar = progress_bar(args);
    let formed = form::<H>(&board, deadline).await;
    let spoke_from = elapsed();
    let counted_before = counters(&nodes);
    if formed.is_ok() {
        for (author, sender) in senders.iter().enumerate() {
            let args = args.clone();
            host.spawn(speak::<H>(args, sender.clone(), board.clone(), author));
        }
        gather::<H>(&board, &bar, deadline).await;
    }
    bar.finish_and_clear();

    let threads = threads();
    let counters = counters(&nodes)
        .into_iter()
        .zip(counted_before)
        .map(|((name, all), (_, before))| (name, before, all - before))
        .collect();
    let rows: Vec<Row> = board
        .close()
        .into_iter()
        .zip(&nodes)
        .map(|(tally, gossip)| Row {
            tally,
            redundant: gossip.metrics().duplicates.get(),
        })
        .collect();
    // Until here the senders keep the topic open: nodes that left one by one would make the others
    // mend a swarm that is about to end.
    let stop = stop::<H>(stops).await;
    formed?;
    if let Some(error) = lock(&board.failure).take() {
        return Err(error.into());
    }
    let last = rows.iter().map(|row| row.tally.last_arrival).max();
    Ok(Outcome {
        args: args.clone(),
        forming: spoke_from - began,
        broadcasting: last.unwrap_or_default().saturating_sub(spoke_from),
        rows,
        threads,
        counters,
        stop,
    })
}

/// What the tasks of a run share.
struct Board {
    /// By node; taken out at the end of the run.
    tallies: Vec<Mutex<Option<Tally>>>,
    /// Deliveries so far, and how many there are to be.
    arrived: AtomicUsize,
    expected: usize,
    /// Nodes that have more to send.
    speaking: AtomicUsize,
    /// Why a node could not send.
    failure: Mutex<Option<ApiError>>,
}

impl Board {
    fn new(args: &Args, endpoints: &[Endpoint]) -> Self {
        let tallies = endpoints.iter().enumerate().map(|(author, endpoint)| {
            let tally = Tally::new(endpoint.id(), author, args.nodes, args.messages, args.size);
            Mutex::new(Some(tally))
        });
        Self {
            tallies: tallies.collect(),
            arrived: AtomicUsize::new(0),
            expected: args.nodes * args.expected(),
            speaking: AtomicUsize::new(args.nodes),
            failure: Mutex::new(None),
        }
    }

    /// Ends the counting.
    fn close(&self) -> Vec<Tally> {
        let tallies = self.tallies.iter();
        tallies.filter_map(|tally| lock(tally).take()).collect()
    }

    /// Why the swarm has not formed yet, if it has not: somebody cannot be reached from the first
    /// node, or neighbors still change.
    fn unformed(&self) -> Option<String> {
        let mut neighbors = BTreeMap::new();
        let mut changed = Duration::ZERO;
        for tally in &self.tallies {
            if let Some(tally) = &*lock(tally) {
                neighbors.insert(tally.id, tally.neighbors.clone());
                changed = changed.max(tally.neighbors_changed);
            }
        }
        let mutual = |a: &EndpointId, b: &EndpointId| {
            neighbors.get(a).is_some_and(|of_a| of_a.contains(b))
                && neighbors.get(b).is_some_and(|of_b| of_b.contains(a))
        };
        let mut reached: BTreeSet<EndpointId> = neighbors.keys().take(1).copied().collect();
        let mut unexplored: Vec<EndpointId> = reached.iter().copied().collect();
        while let Some(node) = unexplored.pop() {
            for peer in &neighbors[&node] {
                if mutual(&node, peer) && reached.insert(*peer) {
                    unexplored.push(*peer);
                }
            }
        }
        let apart = neighbors.len() - reached.len();
        if apart > 0 {
            return Some(format!("{apart} of {} nodes are apart", neighbors.len()));
        }
        if elapsed() < changed + FORMED_AFTER {
            return Some("neighbors still come and go".to_owned());
        }
        None
    }
}

/// Binds the endpoints. All know the address of the first; the rest they learn through gossip.
async fn bind(host: &impl Host, count: usize) -> Result<Vec<Endpoint>, Box<dyn Error>> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for _ in 0..count {
        let lookup = MemoryLookup::new();
        if let Some(bootstrap) = endpoints.first() {
            lookup.add_endpoint_info(bootstrap.addr());
        }
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?
            .address_lookup(lookup)
            .transport_config(transport_config())
            .alpns(vec![ALPN.to_vec()]);
        endpoints.push(host.context().wrap(endpoint.bind()).await?);
    }
    Ok(endpoints)
}

/// Counts what a node receives, until the counting ends.
async fn listen(mut receiver: GossipReceiver, board: Arc<Board>, index: usize) {
    while let Some(Ok(event)) = receiver.next().await {
        let Some(tally) = &mut *lock(&board.tallies[index]) else {
            return;
        };
        if tally.count(event) {
            board.arrived.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Broadcasts what a node has to say, at its pace.
async fn speak<H: Host>(args: Args, sender: GossipSender, board: Arc<Board>, author: usize) {
    let period = args.period();
    // The nodes take turns within a period, or all would speak at once.
    let begin = elapsed() + period.mul_f64(author as f64 / args.nodes as f64);
    for number in 0..args.messages {
        let early = (begin + period * number).saturating_sub(elapsed());
        if !early.is_zero() {
            H::sleep(early).await;
        }
        let message = Message {
            author: author as u32,
            number,
            sent: elapsed(),
        };
        if let Err(error) = sender.broadcast(message.encode(args.size)).await {
            *lock(&board.failure) = Some(error);
            return;
        }
    }
    board.speaking.fetch_sub(1, Ordering::Relaxed);
}

/// Waits until the nodes are one swarm, and stay it for a moment.
///
/// A first neighbor alone does not mean that: while many join, the bootstrap node sends neighbors
/// on to others.
async fn form<H: Host>(board: &Board, deadline: Duration) -> Result<(), String> {
    while let Some(reason) = board.unformed() {
        if elapsed() > deadline {
            return Err(format!("the swarm did not form: {reason}"));
        }
        H::sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until everything has arrived, or has to be given up.
async fn gather<H: Host>(board: &Board, bar: &ProgressBar, deadline: Duration) {
    let mut before = 0;
    let mut last = elapsed();
    while before < board.expected {
        H::sleep(LOOK).await;
        let arrived = board.arrived.load(Ordering::Relaxed);
        if arrived > before {
            last = elapsed();
        }
        before = arrived;
        bar.set_position(arrived as u64);
        let silent = board.speaking.load(Ordering::Relaxed) == 0 && elapsed() > last + LOST_AFTER;
        if silent || elapsed() > deadline || lock(&board.failure).is_some() {
            return;
        }
    }
    H::sleep(AFTERMATH).await;
}

/// Stops all nodes at once.
async fn stop<H: Host>(stops: Vec<Boxed<Result<(), String>>>) -> Result<(), String> {
    let all = async { join_all(stops).await.into_iter().collect() };
    let too_long = async {
        H::sleep(STOP_TIMEOUT).await;
        Err(format!("they took longer than {STOP_TIMEOUT:?}"))
    };
    future::or(all, too_long).await
}

/// On standard error, and only where that is a terminal.
fn progress_bar(args: &Args) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} arrived, {elapsed}");
    ProgressBar::new((args.nodes * args.expected()) as u64)
        .with_style(style.expect("the template is well-formed"))
}

/// What the nodes have counted so far, by name.
fn counters(nodes: &[Gossip]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for item in nodes.iter().flat_map(|node| node.metrics().iter()) {
        if let MetricValue::Counter(count) = item.value() {
            *sums.entry(item.name().to_owned()).or_default() += count;
        }
    }
    sums
}

/// How many OS threads the process has.
fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

/// A task that panicked while it counted leaves a count behind that is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
