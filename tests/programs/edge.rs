//! `edge`, two devices.

use crate::program::Program;

#[test]
fn devices_tell_each_other_on_one_thread() {
    let options = ["--no-relay", "--every", "1", "--name"];
    let mut kitchen = Program::start("edge", [&["open"], &options[..], &["kitchen"]].concat());
    let line = kitchen.expect("ticket: ");
    let ticket = line.trim_start_matches("ticket: ");
    let mut cellar = Program::start(
        "edge",
        [&["join", ticket], &options[..], &["cellar"]].concat(),
    );
    kitchen.expect("connected to");
    cellar.expect("kitchen: ");
    kitchen.expect("cellar: ");
    cellar.expect("told 1 others");

    #[cfg(target_os = "linux")]
    for device in [&kitchen, &cellar] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", device.id()));
        let status = status.expect("it runs");
        assert!(status.contains("Threads:\t1\n"), "{status}");
    }

    cellar.signal("INT");
    kitchen.expect("lost");
    cellar.succeed();
    kitchen.signal("TERM");
    kitchen.succeed();
}

#[test]
fn a_device_ends_after_its_readings() {
    let args = ["open", "--no-relay", "--every", "1", "--readings", "2"];
    let said = Program::start("edge", args).succeed();
    assert_eq!(
        said.iter().filter(|line| line.starts_with("told")).count(),
        2
    );
}
