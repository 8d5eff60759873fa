//! first
use super::{check, world::*};

#[test]
fn two_nodes() {
    let mut world = World::new(1);
    world.start_all(2);
    world.join(0, 0, &[]);
    world.join(1, 0, &[0]);
    let took = world.run_until("neighbors", secs(5), |world| world.neighbors(1, 0) == [0]);
    println!("{took:?}");
    world.broadcast(0, 0, message(1, 100));
    let took = world.run_until("delivery", secs(5), |world| {
        world.received(1, 0, 1).is_some()
    });
    println!("{took:?}");
    world.run_for(secs(100));
    check::quiet(&world);
    world.leave(0, 0);
    world.leave(1, 0);
    world.run_for(secs(30));
    check::idle(&mut world);
}
