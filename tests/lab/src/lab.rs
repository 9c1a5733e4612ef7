//! A lab that is up.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::place::Places;
use crate::plan::{Node, Plan, Rack, Spec, check_name};
use crate::tools;

mod down;
mod ping;
mod power;
mod run;
mod start;
mod status;
mod up;

pub use run::Running;
pub use status::{ProcessStatus, Status};

/// A lab that is up: a handle to its state folder. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Lab {
    spec: Spec,
    places: Places,
}

/// What `lab.json` in the state folder says.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    spec: Spec,
    /// Whether `up` came to its end.
    complete: bool,
}

impl Record {
    fn path(folder: &Folder) -> PathBuf {
        folder.path().join("lab.json")
    }

    fn read(folder: &Folder) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(folder)).ok()?).ok()
    }

    fn write(&self, folder: &Folder) -> Result<()> {
        Ok(fs::write(
            Self::path(folder),
            serde_json::to_vec_pretty(self)?,
        )?)
    }
}

impl Lab {
    /// The lab of that name, which another process may have started.
    ///
    /// # Errors
    /// If there is none, or if it never came up completely.
    pub fn open(name: &str) -> Result<Self> {
        check_name(name)?;
        tools::check_root()?;
        let record = Record::read(&Folder::of(name));
        let record = record.with_context(|| {
            format!("there is no lab {name:?}: `lab up --name {name}` starts it")
        })?;
        if !record.complete {
            bail!("lab {name:?} never came up completely: `lab up --name {name}` starts it again");
        }
        Self::of(record.spec)
    }

    /// The handle for a spec, whether its lab is up or not.
    fn of(spec: Spec) -> Result<Self> {
        let plan = Plan::new(&spec)?;
        let folder = Folder::of(&spec.name);
        Ok(Self {
            spec,
            places: Places { plan, folder },
        })
    }

    /// What the lab was asked to be.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its places, addresses and AS numbers.
    pub fn plan(&self) -> &Plan {
        &self.places.plan
    }

    /// Its nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.plan().nodes
    }

    /// Its racks, in order.
    pub fn racks(&self) -> &[Rack] {
        &self.plan().racks
    }

    /// The administrator's kubeconfig. It works inside the lab's places, as the API server is in none of the machine's networks.
    pub fn kubeconfig(&self) -> PathBuf {
        self.places.folder.kubeconfig("admin")
    }

    /// The log of a process, such as `("n1", "kubelet")` or `("tor1", "bird")`.
    pub fn log_path(&self, place: &str, process: &str) -> PathBuf {
        self.places.folder.log(place, process)
    }

    /// Every log that there is, audit log included.
    ///
    /// # Errors
    /// If the state folder cannot be read.
    pub fn logs(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.places.folder.path().join("logs"))?;
        let mut logs: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        logs.sort();
        Ok(logs)
    }
}
