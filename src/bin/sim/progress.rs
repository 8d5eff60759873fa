//! How far we are, on standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar with the time that is left.
pub(crate) fn bar(len: u64) -> ProgressBar {
    let style = "{elapsed_precise} [{bar:30}] {percent:>3}% · {eta} left · {msg}";
    let style = ProgressStyle::with_template(style).expect("the template is valid");
    let bar = ProgressBar::new(len).with_style(style.progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// The wall clock. What is simulated only takes it as an origin; nothing depends on it.
pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an origin, and how long we took")]
    Instant::now()
}
