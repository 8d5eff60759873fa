//! Who may have the endpoint do a handshake: so many a second for each source, before anything is known of
//! what it wants. This stands before everything else, in a router's filter or in the driver's accept loop.

use std::{
    collections::hash_map::RandomState,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use iroh::{
    EndpointId,
    endpoint::{Incoming, IncomingAddr},
    protocol::IncomingFilterOutcome,
};

use crate::metrics::Metrics;

/// So many seconds' worth of handshakes may begin at once.
const AT_ONCE: u32 = 4;

/// While the address of a source is not proven, one in so many of what it may do is done in its name: somebody
/// else may have written it there.
const BEFORE_PROOF: u32 = 4;

/// All sources whose addresses are not proven may together begin so many times what one may.
const UNPROVEN: u32 = 4;

/// Shares of sources that are remembered, two of a source at most. When full, any of them makes room, and
/// begins anew.
const SHARES: usize = 4096;

/// Decides on connections that somebody wants to make to us.
#[derive(Debug)]
pub(crate) struct Admission {
    sources: Mutex<Sources>,
    metrics: Arc<Metrics>,
}

/// What is limited as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(Ipv4Addr),
    /// One site has all that begin with these 64 bits.
    V6(u64),
    /// Programs on this machine are told apart.
    Local(SocketAddr),
    Endpoint(EndpointId),
    Other(iroh_base::CustomAddr),
    Unknown,
}

/// So many in a second, and some seconds' worth at once.
#[derive(Clone, Copy, Debug)]
struct Rate {
    interval: Duration,
    at_once: Duration,
}

/// What is begun in the name of a source uses up nothing of what the source may do that has proven its address.
type Share = (Source, Proven);
type Proven = bool;

#[derive(Debug)]
struct Sources {
    rate: Rate,
    rate_before_proof: Rate,
    /// How far each share is used up.
    used_until: IndexMap<Share, Instant, RandomState>,
    unproven_rate: Rate,
    unproven_until: Option<Instant>,
    /// Whether everyone has to prove its address.
    crowded: bool,
    swept_at: Option<Instant>,
    /// Who makes room next.
    next_out: usize,
}

impl Admission {
    pub(super) fn new(handshakes_per_second: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            sources: Mutex::new(Sources::new(handshakes_per_second)),
            metrics,
        }
    }

    /// What to do with a connection attempt. It is counted as one that is let in, if it is.
    #[expect(
        clippy::disallowed_methods,
        reason = "a router calls it, which knows of no clock"
    )]
    pub(crate) fn decide(&self, incoming: &Incoming) -> IncomingFilterOutcome {
        let now = Instant::now();
        let source = Source::from(incoming.remote_addr());
        let proven = incoming.remote_addr_validated();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = sources.decide(source, proven, now);
        if outcome != IncomingFilterOutcome::Accept {
            self.metrics.handshakes_limited.inc();
        }
        outcome
    }

    /// Whether it is crowded: then only who has proven its address is let in.
    pub(super) fn set_crowded(&self, crowded: bool) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.crowded = crowded;
    }
}

impl From<IncomingAddr> for Source {
    fn from(addr: IncomingAddr) -> Self {
        match addr {
            IncomingAddr::Ip(addr) => match addr.ip().to_canonical() {
                ip if ip.is_loopback() => Self::Local(addr),
                IpAddr::V4(ip) => Self::V4(ip),
                IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
            },
            IncomingAddr::Relay { endpoint_id, .. } => Self::Endpoint(endpoint_id),
            IncomingAddr::Custom(addr) => Self::Other(addr),
            _ => Self::Unknown,
        }
    }
}

impl Rate {
    /// A rate of zero would be forever.
    fn new(per_second: u32) -> Self {
        Self::every(Duration::from_secs(1) / per_second.max(1))
    }

    fn every(interval: Duration) -> Self {
        Self {
            interval,
            at_once: Duration::from_secs(AT_ONCE.into()).max(interval),
        }
    }

    /// What is used up after one more; `None` if that is too much.
    fn next(self, used_until: Instant, now: Instant) -> Option<Instant> {
        let next = used_until.max(now) + self.interval;
        (next <= now + self.at_once).then_some(next)
    }
}

impl Sources {
    fn new(per_second: u32) -> Self {
        let rate = Rate::new(per_second);
        Self {
            rate,
            rate_before_proof: Rate::every(rate.interval * BEFORE_PROOF),
            used_until: IndexMap::default(),
            unproven_rate: Rate::new(per_second.saturating_mul(UNPROVEN)),
            unproven_until: None,
            crowded: false,
            swept_at: None,
            next_out: 0,
        }
    }

    /// Who is over its rate has to prove its address; who has proven it is ignored.
    fn decide(&mut self, source: Source, proven: Proven, now: Instant) -> IncomingFilterOutcome {
        if self.crowded && !proven {
            return IncomingFilterOutcome::Retry;
        }
        let (rate, outcome_if_over) = if proven {
            (self.rate, IncomingFilterOutcome::Ignore)
        } else {
            (self.rate_before_proof, IncomingFilterOutcome::Retry)
        };
        let share = (source, proven);
        let used_until = self.used_until.get(&share).copied().unwrap_or(now);
        let Some(next) = rate.next(used_until, now) else {
            return outcome_if_over;
        };
        if !proven {
            // Addresses can be made up, so that each is the first of its source.
            let used_until = self.unproven_until.unwrap_or(now);
            let Some(next) = self.unproven_rate.next(used_until, now) else {
                return outcome_if_over;
            };
            self.unproven_until = Some(next);
        }
        if self.used_until.len() >= SHARES && !self.used_until.contains_key(&share) {
            self.make_room(now);
        }
        self.used_until.insert(share, next);
        IncomingFilterOutcome::Accept
    }

    fn make_room(&mut self, now: Instant) {
        let sweep_at = self.swept_at.map(|at| at + self.rate.interval);
        if sweep_at.is_none_or(|at| at <= now) {
            self.swept_at = Some(now);
            self.used_until.retain(|_, used_until| *used_until > now);
        }
        if self.used_until.len() >= SHARES {
            self.next_out = (self.next_out + 1) % self.used_until.len();
            self.used_until.swap_remove_index(self.next_out);
        }
    }
}

#[cfg(test)]
mod tests;
