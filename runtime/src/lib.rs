//! placeholder
mod ready;
mod tasks;
mod wheel;
pub use tasks::{TaskId, TaskSlab};
pub use wheel::{TimerKey, TimerWheel};
