//! Which processors a thread runs on.

/// The processors of a machine, divided in two: one for the thread that divided them, and the rest.
///
/// Nothing is divided where there is only one, and on other systems than Linux.
pub(crate) struct Processors(#[cfg(target_os = "linux")] Option<linux::Halves>);

#[cfg(target_os = "linux")]
impl Processors {
    /// Keeps one processor for this thread, and for threads that it starts from now on.
    pub(crate) fn divide() -> Self {
        Self(linux::Halves::of_this_thread().inspect(|halves| halves.stay()))
    }

    /// Runs something on the other processors. Threads that it starts stay there.
    pub(crate) fn elsewhere<T>(&self, run: impl FnOnce() -> T) -> T {
        let Some(halves) = &self.0 else {
            return run();
        };
        halves.leave();
        let result = run();
        halves.stay();
        result
    }
}

#[cfg(target_os = "linux")]
impl Drop for Processors {
    fn drop(&mut self) {
        if let Some(halves) = &self.0 {
            halves.restore();
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Processors {
    pub(crate) fn divide() -> Self {
        Self()
    }

    pub(crate) fn elsewhere<T>(&self, run: impl FnOnce() -> T) -> T {
        run()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) struct Halves {
        all: CpuSet,
        own: CpuSet,
        others: CpuSet,
    }

    impl Halves {
        /// The first processor that this thread may run on, and the others.
        pub(super) fn of_this_thread() -> Option<Self> {
            let all = sched_getaffinity(None).ok()?;
            let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu))?;
            let (mut own, mut others) = (CpuSet::new(), all);
            own.set(first);
            others.unset(first);
            (others.count() > 0).then_some(Self { all, own, others })
        }

        pub(super) fn stay(&self) {
            run_on(&self.own);
        }

        pub(super) fn leave(&self) {
            run_on(&self.others);
        }

        pub(super) fn restore(&self) {
            run_on(&self.all);
        }
    }

    fn run_on(processors: &CpuSet) {
        // These are among those that it may run on, unless that has just been changed.
        if let Err(error) = sched_setaffinity(None, processors) {
            eprintln!("threads are not divided among the processors: {error}");
        }
    }
}
