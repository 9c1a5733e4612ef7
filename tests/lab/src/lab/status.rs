//! What of a lab runs.

use std::fs;

use anyhow::Result;

use super::{Lab, Record};
use crate::folder::Folder;

/// What of a lab runs.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether `up` came to its end.
    pub complete: bool,
    /// Every process that was started to stay.
    pub processes: Vec<ProcessStatus>,
}

impl Status {
    /// Whether `up` came to its end and everything it started still runs.
    pub fn is_healthy(&self) -> bool {
        self.complete && self.processes.iter().all(|process| process.running)
    }
}

/// A process that was started to stay.
#[derive(Clone, Debug)]
pub struct ProcessStatus {
    /// Where.
    pub place: String,
    /// What.
    pub name: String,
    /// Its id on the machine.
    pub pid: i32,
    /// Whether it still runs.
    pub running: bool,
}

impl Lab {
    /// What of the lab runs.
    ///
    /// # Errors
    /// If the state folder cannot be read.
    pub fn status(&self) -> Result<Status> {
        let complete = Record::read(&self.places.folder).is_some_and(|record| record.complete);
        let processes = self
            .places
            .daemons()?
            .into_iter()
            .map(|daemon| ProcessStatus {
                place: daemon.place,
                name: daemon.name,
                pid: daemon.process.pid,
                running: daemon.process.is_alive(),
            });
        Ok(Status {
            complete,
            processes: processes.collect(),
        })
    }

    /// The names of the labs of this checkout, whole or half.
    ///
    /// # Errors
    /// If the folder of labs cannot be read.
    pub fn names() -> Result<Vec<String>> {
        let labs = Folder::of("x").path().with_file_name("");
        let Ok(entries) = fs::read_dir(labs) else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.path().join("lab.json").exists() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }
}
