//! Doing what a schedule says.

use super::{delivery::Delivery, plan::Op};
use crate::net::tests::world::{World, id, message, ms};

impl Op {
    /// Does it, where it can be done. Who joins has room for so many events.
    pub(super) fn apply(&self, world: &mut World, delivery: &mut Delivery, capacity: usize) {
        match self {
            Self::Start(n) => {
                if !world.nodes.contains_key(n) {
                    world.start(*n);
                }
            }
            Self::Join { n, topic, through } => {
                if world.nodes.contains_key(n) {
                    // A second subscription to a topic gets what the first one gets.
                    world.try_join_with(*n, *topic, through, capacity);
                }
            }
            Self::Leave { n, topic } => {
                if world.nodes.contains_key(n) {
                    world.leave(*n, *topic);
                }
            }
            Self::Broadcast {
                n,
                topic,
                size,
                count,
            } => {
                for _ in 0..*count {
                    delivery.publish(world, *n, *topic, |number| message(number, *size));
                }
            }
            Self::Crash(n) => world.crash(*n),
            Self::Shutdown(n) => {
                if world.nodes.contains_key(n) {
                    drop(world.shutdown(*n));
                }
            }
            Self::Stop(n) => {
                if world.nodes.contains_key(n) {
                    world.stop(*n);
                }
            }
            Self::Split(island) => {
                let island = island.iter().map(|n| (id(*n), 1));
                world.network.set_islands(island);
            }
            Self::Heal => world.network.set_islands([]),
            Self::Muffle(muffled) => {
                let muffled = muffled.iter().map(|n| id(*n));
                world.network.set_muffled(muffled);
            }
            Self::Lose { a, b } => {
                world
                    .network
                    .lose_connections((id(a.0), a.1), (id(b.0), b.1));
            }
            Self::Cut { from, to } => world.network.set_cut(id(*from), id(*to), true),
            Self::Mend { from, to } => world.network.set_cut(id(*from), id(*to), false),
            Self::StopReads { n, millis } => {
                let until = world.now() + ms(*millis);
                world.network.stop_reads(id(*n), until);
            }
            Self::SlowReads { n, rate } => world.network.set_read_rate(id(*n), *rate),
            Self::Latency { from, to } => world.network.set_latency(ms(*from)..ms(*to)),
            Self::Far { n, millis } => world.network.set_far(id(*n), ms(*millis)),
            Self::Dials { to, fault } => world.network.set_dials_to(id(*to), *fault),
            Self::Jump { millis } => {
                world.jump(ms(*millis));
                delivery.forget();
            }
            Self::Sleep(n) => world.sleep(*n),
            Self::Wake(n) => world.wake(*n),
            Self::Read { n, topic, reads } => world.set_reading(*n, *topic, *reads),
            Self::ChangeAddress(n) => world.network.change_address(id(*n)),
            Self::Streams { n, limit } => world.network.pin_stream_limit(id(*n), *limit),
        }
    }
}
