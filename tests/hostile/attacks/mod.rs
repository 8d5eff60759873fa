//! What hostile peers do to a node: raw iroh endpoints that speak as they like.
//!
//! Every attack goes on until it is dropped, and starts again when it is shown the door. Used by
//! the tests of `tests/hostile`, and by `benches/hostile.rs`.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each of those who include this uses its own part"
)]

mod broadcast;
mod connections;
mod foe;
mod membership;
mod streams;

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use iroh::{EndpointId, address_lookup::memory::MemoryLookup};
use smol_gossip::{TopicId, metrics::Metrics};
use tokio::sync::oneshot;

/// Whom an attack is at.
#[derive(Clone, Debug)]
pub struct Target {
    /// The node.
    pub id: EndpointId,
    /// A topic that it is in.
    pub topic: TopicId,
    /// Where to find it.
    pub book: MemoryLookup,
    /// Its honest neighbors.
    pub honest: Vec<EndpointId>,
    /// How the attackers fare.
    pub foes: Arc<Foes>,
}

/// How attackers fare.
#[derive(Debug, Default)]
pub struct Foes {
    expelled: AtomicU64,
    said: AtomicU64,
}

impl Foes {
    /// How often they were shown the door.
    pub fn expelled(&self) -> u64 {
        self.expelled.load(Ordering::Relaxed)
    }

    /// How often they got something written as members of the topic.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    fn note_expelled(&self) {
        self.expelled.fetch_add(1, Ordering::Relaxed);
    }

    fn note_said(&self) {
        self.said.fetch_add(1, Ordering::Relaxed);
    }
}

/// An attack on a node.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    run: fn(Target) -> Pin<Box<dyn Future<Output = ()>>>,
    /// What tells that the node has noticed: what it counts, and how the attackers fare where honest peers have it
    /// count as well.
    pub noticed: fn(&Metrics, &Foes) -> u64,
}

impl fmt::Debug for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! attacks {
    ($($name:ident in $module:ident, noticed by $noticed:expr;)+) => {
        /// All attacks.
        pub const ALL: &[Attack] = &[$(Attack {
            name: stringify!($name),
            run: |target| Box::pin($module::$name(target)),
            noticed: $noticed,
        },)+];
    };
}

attacks! {
    garbage_frames in streams, noticed by |metrics, _| metrics.frames_invalid.get();
    length_of_four_gigabytes in streams, noticed by |metrics, _| metrics.frames_invalid.get();
    frames_of_one_byte in streams, noticed by |metrics, _| metrics.frames_invalid.get();
    a_byte_at_a_time in streams, noticed by |metrics, foes| {
        (metrics.msgs_ctrl_recv.get() / 100).min(foes.said() / 100)
    };
    half_a_header in streams, noticed by |metrics, _| metrics.headers_timed_out.get();
    headers_and_never_a_frame in streams, noticed by |_, foes| foes.expelled();
    half_frames_and_silence in streams, noticed by |metrics, _| 3 * metrics.neighbor_up.get();
    a_thousand_streams in streams, noticed by |metrics, _| metrics.unknown_topic.get();
    streams_of_one_topic in streams, noticed by |metrics, _| metrics.stranger_control.get();
    streams_reset_midway in streams, noticed by |_, foes| foes.expelled();
    streams_in_a_loop in streams, noticed by |metrics, _| metrics.peers_held.get();
    streams_stopped in streams, noticed by |_, foes| foes.expelled();
    reads_nothing in streams, noticed by |metrics, _| 3 * metrics.peers_stuck.get();
    reads_nothing_and_asks in streams, noticed by |metrics, _| metrics.peers_backlogged.get();

    connections_in_a_loop in connections, noticed by |metrics, _| metrics.actor_tick_endpoint.get();
    connections_kept in connections, noticed by |metrics, _| metrics.connections_surplus.get();
    joins_and_leaves in connections, noticed by |metrics, _| metrics.neighbor_down.get();
    urgent_requests_and_leaves in connections, noticed by |metrics, _| metrics.joins_limited.get();
    twenty_sybils in connections, noticed by |metrics, _| metrics.neighbor_up.get();

    self_naming_forward_joins in membership, noticed by |metrics, _| {
        metrics.bogus_introduction.get()
    };
    made_up_forward_joins in membership, noticed by |metrics, _| metrics.pending_full.get();
    spoofed_shuffles in membership, noticed by |metrics, _| metrics.bogus_introduction.get();
    shuffles_with_invalid_keys in membership, noticed by |metrics, _| metrics.frames_invalid.get();
    unsolicited_shuffle_replies in membership, noticed by |metrics, _| {
        metrics.shuffle_unsolicited.get()
    };
    shuffle_replies_of_a_neighbor in membership, noticed by |metrics, _| {
        metrics.shuffle_excess.get()
    };
    shuffles_to_black_holes in membership, noticed by |metrics, _| {
        metrics.shuffle_not_relayed.get().min(metrics.addresses_evicted.get())
    };
    peer_data_of_all_sizes in membership, noticed by |metrics, _| metrics.peer_data_too_large.get();
    peer_data_always_new in membership, noticed by |metrics, foes| {
        (metrics.msgs_ctrl_recv.get() / 100).min(foes.said() / 10)
    };

    made_up_announcements in broadcast, noticed by |metrics, _| metrics.missing_full.get();
    strangers_grafts in broadcast, noticed by |metrics, _| metrics.stranger_control.get();
    grafts_of_the_unknown in broadcast, noticed by |metrics, _| metrics.graft_unknown.get();
    grafts_of_the_known in broadcast, noticed by |metrics, _| metrics.graft_limited.get();
    prunes_and_grafts in broadcast, noticed by |metrics, foes| {
        (metrics.msgs_ctrl_recv.get() / 500).min(foes.said())
    };
    false_hashes in broadcast, noticed by |metrics, _| metrics.invalid_id.get();
    the_same_again in broadcast, noticed by |metrics, foes| {
        metrics.duplicates.get().min(foes.said())
    };
    rounds_at_the_end in broadcast, noticed by |metrics, foes| {
        (metrics.msgs_data_recv.get() / 100).min(foes.said() / 100)
    };
    frames_of_the_maximum in broadcast, noticed by |metrics, _| {
        metrics.not_forwarded_too_large.get()
    };
}

/// The attack of this name.
pub fn named(name: &str) -> Attack {
    let attack = ALL.iter().find(|attack| attack.name == name);
    *attack.unwrap_or_else(|| panic!("no attack is called {name}"))
}

/// An attack that goes on, on a thread and runtime of its own.
pub struct Assault {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Assault {
    pub fn start(attack: Attack, target: Target) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("there is a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = (attack.run)(target) => panic!("{} has ended", attack.name),
                    _ = stopped => {}
                }
            });
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Whether all attackers are well: an attack that has panicked proves nothing.
    pub fn goes_on(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Assault {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the attack has panicked");
        }
    }
}
