//! With the edge start a process has one OS thread, with sockets, timers, tasks and a driver.
//!
//! Without a test harness, which would have threads of its own.
#![expect(clippy::print_stdout, reason = "in place of the harness")]

use std::future::{Ready, poll_fn};
use std::time::Duration;

use smol_gossip_runtime::{EventLoop, Wakeup, edge};
use tokio::net::UdpSocket;

fn main() {
    let Some(before) = threads() else {
        println!("skipped: threads can be counted on Linux only");
        return;
    };
    assert_eq!(before, 1);
    let during = edge::block_on(|edge| async move {
        let mut events: EventLoop<_, u32, Ready<()>> = EventLoop::new(edge.runtime());
        let driver = edge.spawn(async move {
            events.schedule(events.now() + Duration::from_millis(5), 1);
            poll_fn(|cx| events.poll_wakeup(cx)).await
        });
        let echo = edge.spawn_local(async {
            let one = UdpSocket::bind("127.0.0.1:0").await?;
            let other = UdpSocket::bind("127.0.0.1:0").await?;
            one.send_to(b"hello", other.local_addr()?).await?;
            let mut received = [0; 5];
            other.recv_from(&mut received).await?;
            std::io::Result::Ok(received)
        });
        assert_eq!(&echo.await.expect("loopback works"), b"hello");
        assert_eq!(driver.await, Ok(Wakeup::Timer(1)));
        threads()
    })
    .expect("not inside of tokio");
    assert_eq!(during, Some(1));
    assert_eq!(threads(), Some(1));
    println!("one thread before, during and after");
}

/// OS threads of this process.
fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}
