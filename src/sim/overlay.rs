//! What the overlay looks like, as HyParView's paper measures it.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{Chance, Network, NodeId};

/// Shortest paths are measured from this many nodes, or from all if there are fewer.
const SOURCES: usize = 200;

/// Clustering is measured at this many nodes, or at all if there are fewer.
const CENTERS: usize = 20_000;

/// What the overlay of active views looks like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overlay {
    /// How many nodes run.
    pub nodes: usize,
    /// How many nodes have how many neighbors.
    pub degrees: Vec<usize>,
    /// How many nodes are in how many active views.
    pub in_degrees: Vec<usize>,
    /// The mean number of neighbors.
    pub mean_degree: f64,
    /// The share of nodes whose active view is full.
    pub full: f64,
    /// The share of neighbors that are neighbors on both sides.
    pub symmetric: f64,
    /// The mean length of the shortest paths between nodes that have one.
    pub shortest_path: f64,
    /// The longest of the shortest paths that were looked at.
    pub diameter: u32,
    /// The mean share of a node's neighbors that are neighbors of each other.
    pub clustering: f64,
    /// The share of nodes that are connected to most others.
    pub connected: f64,
    /// The mean number of peers in a passive view.
    pub mean_passive: f64,
    /// The share of entries in passive views that run.
    pub passive_running: f64,
}

impl Overlay {
    /// Looks at a network.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// use smol_gossip::sim::Overlay;
    ///
    /// let overlay = Overlay::of(&network);
    /// assert_eq!(overlay.connected, 1.0);
    /// println!("{:.2} hops from node to node", overlay.shortest_path);
    /// # Ok::<_, String>(())
    /// ```
    pub fn of(network: &Network) -> Self {
        let graph = Graph::of(network);
        let nodes: Vec<NodeId> = network.nodes().collect();
        let capacity = network.config().proto.membership.active_view_capacity;
        // Nobody has more neighbors than there are others.
        let most = capacity.min(network.len());
        let mut degrees = vec![0; most + 1];
        let mut in_degree = vec![0; network.len()];
        let (mut links, mut symmetric) = (0, 0);
        let (mut passive, mut passive_running) = (0, 0);
        for node in &nodes {
            let neighbors = graph.neighbors(*node);
            count(&mut degrees, neighbors.len());
            links += neighbors.len();
            for neighbor in neighbors {
                in_degree[neighbor.index()] += 1;
                symmetric += usize::from(graph.neighbors(*neighbor).contains(node));
            }
            for other in network.passive_view(*node) {
                passive += 1;
                passive_running += usize::from(network.is_running(other));
            }
        }
        let mut in_degrees = vec![0; most + 1];
        for node in &nodes {
            count(&mut in_degrees, in_degree[node.index()]);
        }
        let paths = graph.paths(&nodes);
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        Self {
            nodes: nodes.len(),
            mean_degree: share(links, nodes.len()),
            full: share(
                degrees.get(capacity..).unwrap_or_default().iter().sum(),
                nodes.len(),
            ),
            symmetric: share(symmetric, links),
            shortest_path: paths.mean,
            diameter: paths.longest,
            clustering: graph.clustering(&nodes),
            connected: share(graph.largest_component(&nodes), nodes.len()),
            mean_passive: share(passive, nodes.len()),
            passive_running: share(passive_running, passive),
            degrees,
            in_degrees,
        }
    }
}

fn count(histogram: &mut Vec<usize>, value: usize) {
    if histogram.len() <= value {
        histogram.resize(value + 1, 0);
    }
    histogram[value] += 1;
}

struct Paths {
    mean: f64,
    longest: u32,
}

/// The active views of nodes that run, without those that do not.
struct Graph {
    /// Where the neighbors of each node begin.
    starts: Vec<u32>,
    neighbors: Vec<NodeId>,
}

impl Graph {
    fn of(network: &Network) -> Self {
        let mut graph = Self {
            starts: vec![0],
            neighbors: Vec::new(),
        };
        for node in 0..network.len() as u32 {
            let neighbors = network.neighbors(NodeId(node));
            graph
                .neighbors
                .extend(neighbors.filter(|other| network.is_running(*other)));
            graph.starts.push(graph.neighbors.len() as u32);
        }
        graph
    }

    fn neighbors(&self, node: NodeId) -> &[NodeId] {
        let (start, end) = (self.starts[node.index()], self.starts[node.index() + 1]);
        &self.neighbors[start as usize..end as usize]
    }

    /// The distances from one node, by breadth first; those that cannot be reached have none.
    fn distances(&self, from: NodeId, reached: &mut Vec<NodeId>, distances: &mut [u32]) {
        reached.clear();
        reached.push(from);
        distances.fill(u32::MAX);
        distances[from.index()] = 0;
        let mut next = 0;
        while let Some(node) = reached.get(next).copied() {
            next += 1;
            for neighbor in self.neighbors(node) {
                if distances[neighbor.index()] == u32::MAX {
                    distances[neighbor.index()] = distances[node.index()] + 1;
                    reached.push(*neighbor);
                }
            }
        }
    }

    fn paths(&self, nodes: &[NodeId]) -> Paths {
        let mut rng = Chance::new(0);
        let mut distances = vec![u32::MAX; self.starts.len() - 1];
        let mut reached = Vec::new();
        let (mut sum, mut count, mut longest) = (0u64, 0u64, 0);
        for source in sample(nodes, SOURCES, &mut rng) {
            self.distances(source, &mut reached, &mut distances);
            sum += reached
                .iter()
                .map(|node| u64::from(distances[node.index()]))
                .sum::<u64>();
            count += reached.len() as u64 - 1;
            let last = reached.last().map_or(0, |node| distances[node.index()]);
            longest = longest.max(last);
        }
        Paths {
            mean: sum as f64 / count.max(1) as f64,
            longest,
        }
    }

    fn clustering(&self, nodes: &[NodeId]) -> f64 {
        let mut rng = Chance::new(1);
        let centers = sample(nodes, CENTERS, &mut rng);
        let sum: f64 = centers
            .iter()
            .map(|center| {
                let around = self.neighbors(*center);
                if around.len() < 2 {
                    return 0.0;
                }
                let links: usize = around
                    .iter()
                    .map(|one| {
                        let known = self.neighbors(*one);
                        around.iter().filter(|other| known.contains(other)).count()
                    })
                    .sum();
                links as f64 / (around.len() * (around.len() - 1)) as f64
            })
            .sum();
        sum / centers.len().max(1) as f64
    }

    /// How many nodes the largest set has in which all are connected, links taken both ways.
    fn largest_component(&self, nodes: &[NodeId]) -> usize {
        let mut parents: Vec<u32> = (0..self.starts.len() as u32 - 1).collect();
        fn root(parents: &mut [u32], mut node: u32) -> u32 {
            while parents[node as usize] != node {
                parents[node as usize] = parents[parents[node as usize] as usize];
                node = parents[node as usize];
            }
            node
        }
        for node in nodes {
            for neighbor in self.neighbors(*node) {
                let (a, b) = (root(&mut parents, node.0), root(&mut parents, neighbor.0));
                parents[a as usize] = b;
            }
        }
        let mut sizes = vec![0; parents.len()];
        for node in nodes {
            sizes[root(&mut parents, node.0) as usize] += 1;
        }
        sizes.into_iter().max().unwrap_or(0)
    }
}

/// Some of the nodes, or all if there are fewer.
fn sample(nodes: &[NodeId], count: usize, rng: &mut Chance) -> Vec<NodeId> {
    if nodes.len() <= count {
        return nodes.to_vec();
    }
    (0..count)
        .map(|_| nodes[rng.random_range(0..nodes.len())])
        .collect()
}
