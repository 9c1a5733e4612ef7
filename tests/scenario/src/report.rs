//! Checks, a line each.

use anyhow::Result;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Counts what passed and what failed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<String>,
    /// The group that checks belong to.
    group: String,
}

impl Report {
    /// Opens a group of checks.
    pub(crate) fn title(&mut self, name: &str, what: &str) {
        self.group = name.to_owned();
        println!("\n== {name}: {what}");
    }

    /// Runs a check: its text on success is what was seen.
    pub(crate) fn check(&mut self, what: &str, check: impl FnOnce() -> Result<String>) -> bool {
        let started = Instant::now();
        match check() {
            Ok(seen) => {
                self.passed += 1;
                println!("ok      {what}: {seen} [{}]", human(started.elapsed()));
                true
            }
            Err(error) => {
                self.fail(what, &error);
                false
            }
        }
    }

    /// Notes a failure.
    pub(crate) fn fail(&mut self, what: &str, error: &anyhow::Error) {
        println!("FAILED  {what}: {error:#}");
        self.failed.push(format!("{}: {what}", self.group));
    }

    /// Shows output of a real tool, indented.
    pub(crate) fn show(&self, output: &str) {
        output
            .trim_end()
            .lines()
            .for_each(|line| println!("        | {line}"));
    }

    /// The last line, and the exit code that says the same.
    pub(crate) fn close(self) -> ExitCode {
        self.failed
            .iter()
            .for_each(|what| println!("failed: {what}"));
        println!("\n{} passed, {} failed", self.passed, self.failed.len());
        if self.failed.is_empty() && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn human(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms < 10_000 => format!("{ms} ms"),
        ms => format!("{} s", ms / 1000),
    }
}
