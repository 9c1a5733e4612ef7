//! Progress lines: `[ 3/12] etcd … 0.8 s`, on standard error.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::Result;

/// Counts the steps of a task and says what is done and how long it took.
#[derive(Debug)]
pub(crate) struct Progress {
    total: usize,
    done: usize,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: 0 }
    }

    /// One step that says nothing itself.
    pub(crate) fn step<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begin(what, "");
        let begin = Instant::now();
        let result = work();
        let outcome = if result.is_ok() { "" } else { " (failed)" };
        say(&format!(
            "{:.1} s{outcome}\n",
            begin.elapsed().as_secs_f64()
        ));
        result
    }

    /// One step that may write lines of its own.
    pub(crate) fn lines<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begin(what, "\n");
        work()
    }

    fn begin(&mut self, what: &str, end: &str) {
        self.done += 1;
        say(&format!("[{:>2}/{}] {what} … {end}", self.done, self.total));
    }
}

/// Progress is a courtesy: a closed stream is no error.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
