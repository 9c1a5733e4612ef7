//! What `ip monitor` tells on a node. It says nothing when it begins to listen, so a marker route that is seen shows that it does.

use anyhow::{Context, Result};
use margay_lab::{Lab, Running, Seen, wait_until};
use std::{
    io::{BufRead, BufReader},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// In a table that nobody reads (RFC 5737 address).
const MARKER: [&str; 4] = ["blackhole", "192.0.2.83/32", "table", "8383"];
const LIMIT: Duration = Duration::from_secs(10);

/// `ip monitor` in a place, from when it is known to listen.
#[derive(Debug)]
pub(crate) struct Monitor {
    lab: Lab,
    place: String,
    lines: Arc<Mutex<Vec<String>>>,
    _process: Running,
}

impl Monitor {
    /// Listens to everything about links, addresses, routes and nexthop objects.
    ///
    /// # Errors
    /// When it does not come to listen.
    pub(crate) fn start(lab: &Lab, place: &str) -> Result<Self> {
        let argv = ["ip", "monitor", "link", "address", "route", "nexthop"];
        let mut process = lab.spawn(place, &argv)?;
        let output = process.child().stdout.take();
        let output = BufReader::new(output.context("ip monitor has no output")?);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = lines.clone();
        // It ends with the process.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                told.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let monitor = Self {
            lab: lab.clone(),
            place: place.to_owned(),
            lines,
            _process: process,
        };
        monitor.marked()?;
        Ok(monitor)
    }

    /// Every line with `word` of what was told until now.
    ///
    /// # Errors
    /// When it does not listen any more.
    pub(crate) fn told(&self, word: &str) -> Result<Vec<String>> {
        self.marked()?;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lines.iter().filter(|line| line.contains(word));
        Ok(found.cloned().collect())
    }

    /// Makes the marker until it is told of once more: all that happened before has been told then.
    fn marked(&self) -> Result<()> {
        let before = self.markers();
        let route = |verb: &str| {
            let argv = [["ip", "route", verb].as_slice(), MARKER.as_slice()].concat();
            self.lab.exec(&self.place, &argv)
        };
        wait_until("ip monitor tells of the marker", LIMIT, || {
            if self.markers() > before {
                return Ok(Seen::Holds(()));
            }
            route("add")?;
            route("del")?;
            Ok(Seen::NotYet("nothing".to_owned()))
        })
    }

    fn markers(&self) -> usize {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains("8383")).count()
    }
}
