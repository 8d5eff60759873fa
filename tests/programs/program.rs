//! A program that runs, and what it says.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, SystemTime},
};

/// Longer than anything takes that happens at all. That a peer is gone without a word is noticed
/// after 15 seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// The features that this test was compiled with, which are those of the examples beside it.
const FEATURES: &[&str] = &[
    #[cfg(feature = "default")]
    "default",
    #[cfg(feature = "examples")]
    "examples",
    #[cfg(feature = "metrics")]
    "metrics",
    #[cfg(feature = "net")]
    "net",
    #[cfg(feature = "rpc")]
    "rpc",
    #[cfg(feature = "rpc-tls-aws-lc-rs")]
    "rpc-tls-aws-lc-rs",
    #[cfg(feature = "rpc-tls-ring")]
    "rpc-tls-ring",
    #[cfg(feature = "signed")]
    "signed",
    #[cfg(feature = "simulator")]
    "simulator",
    #[cfg(feature = "test-utils")]
    "test-utils",
];

/// Where an example is, built from what is there now.
///
/// `cargo test` has built it before it runs this. Only `cargo test --test programs` has not.
fn example(name: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());

    let exe = env::current_exe().expect("we are a program");
    let profile = exe.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let path = profile.join("examples").join(name);
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_up_to_date(&path, name) {
        return path;
    }
    let mut build = Command::new(env!("CARGO"));
    // What cargo tells tests would make it build things anew.
    let told = env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        ["CARGO_PKG_", "CARGO_BIN_", "CARGO_MANIFEST_"]
            .iter()
            .any(|told| name.starts_with(told))
            || [
                "CARGO",
                "CARGO_CRATE_NAME",
                "CARGO_PRIMARY_PACKAGE",
                "LD_LIBRARY_PATH",
            ]
            .contains(&&*name)
    });
    for (name, _) in told {
        build.env_remove(name);
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--example", name, "--no-default-features"]);
    build.arg("--features").arg(FEATURES.join(","));
    build
        .arg("--target-dir")
        .arg(profile.parent().expect("target"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.output().expect("cargo can be started");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    path
}

/// Whether a program is newer than all that it is made of.
fn is_up_to_date(program: &Path, name: &str) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = here.join("examples");
    let sources = [
        here.join("Cargo.toml"),
        here.join("src"),
        here.join("runtime/src"),
        examples.join("support"),
        examples.join(name),
        examples.join(name).with_extension("rs"),
    ];
    let newest = sources.iter().filter_map(|path| newest(path)).max();
    let built = fs::metadata(program).and_then(|file| file.modified()).ok();
    built.is_some() && built >= newest
}

/// When the last of the files at or below a path was changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let own = fs::metadata(path).ok()?.modified().ok();
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    below
        .map(|entry| newest(&entry.path()))
        .chain([own])
        .max()
        .flatten()
}

pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    said: mpsc::Receiver<String>,
    complained: Option<mpsc::Receiver<String>>,
    /// All that was said so far, for when a test fails.
    transcript: Vec<String>,
}

impl Program {
    pub(crate) fn start<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Self {
        let mut child = Command::new(example(name))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .spawn()
            .expect("it was built");
        Self {
            stdin: child.stdin.take(),
            said: lines(child.stdout.take().expect("it is a pipe")),
            complained: Some(lines(child.stderr.take().expect("it is a pipe"))),
            child,
            transcript: vec![],
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types a line, or more.
    pub(crate) fn type_line(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it was not closed");
        writeln!(stdin, "{text}").expect("it reads");
    }

    /// Ends what is typed.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Reads stdout up to a line with `what` in it, and returns that.
    pub(crate) fn expect(&mut self, what: &str) -> String {
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.transcript.push(line.clone());
                    if line.contains(what) {
                        return line;
                    }
                }
                Err(error) => self.fail(&format!("nothing with {what:?}: {error}")),
            }
        }
    }

    /// Reads stderr up to a line with `what` in it, and returns that.
    pub(crate) fn expect_note(&mut self, what: &str) -> String {
        loop {
            let notes = self.complained.as_ref().expect("it is kept");
            match notes.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => self.transcript.push(line),
                Err(error) => self.fail(&format!("no note with {what:?}: {error}")),
            }
        }
    }

    /// The next line of stdout.
    pub(crate) fn next_line(&mut self) -> String {
        self.expect("")
    }

    /// Sends a signal, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id();
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .status();
        assert!(status.expect("there is a shell").success());
    }

    /// Waits for the end, and returns how it ended, and what of stdout and stderr was not read.
    pub(crate) fn finish(mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        self.stdin = None;
        let notes = self.complained.take().expect("it is kept");
        // Both end with the program. Behind that, it has ended, or is about to.
        let said = rest(&self.said);
        let notes = rest(&notes);
        let status = match (said.as_ref(), notes.as_ref()) {
            (Some(_), Some(_)) => self.child.wait().expect("it is our child"),
            _ => self.fail("it does not end"),
        };
        let (said, notes) = (said.unwrap_or_default(), notes.unwrap_or_default());
        let panicked = notes.iter().any(|line| line.contains("panicked"));
        assert!(!panicked, "{notes:#?}");
        (status, said, notes)
    }

    /// Waits for the end, which has to be a good one.
    pub(crate) fn succeed(self) -> Vec<String> {
        let (status, said, notes) = self.finish();
        assert!(status.success(), "{status}\n{said:#?}\n{notes:#?}");
        said
    }

    /// Ends it as if the power had failed.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    fn fail(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        let notes = self.complained.take().as_ref().and_then(rest);
        panic!("{why}\n{:#?}\n{notes:#?}", self.transcript);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program whose stdout nobody reads behind the line with `what` in it.
pub(crate) fn start_and_stop_reading(
    name: &str,
    args: &[&str],
    what: &str,
) -> (Child, Option<String>) {
    let mut child = Command::new(example(name))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built");
    let out = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut lines = out.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains(what));
    (child, line)
}

fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                break;
            }
        }
    });
    rx
}

/// What comes until the end; `None` if that does not come.
fn rest(lines: &mpsc::Receiver<String>) -> Option<Vec<String>> {
    let mut rest = vec![];
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => rest.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Some(rest),
            Err(mpsc::RecvTimeoutError::Timeout) => return None,
        }
    }
}

/// A port that is free, most likely.
pub(crate) fn free_port() -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is there");
    socket.local_addr().expect("it is bound").port().to_string()
}

/// A file that is not there yet, in the target directory, and is removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("it is text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
