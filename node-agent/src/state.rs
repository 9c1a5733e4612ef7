//! The last known configuration on disk (invariant 12): sessions and routes come back from it while the API server is away.

use crate::{engine::Inputs, files};
use margay_ipam::Block;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastKnown {
    /// Objects that the BGP half of the plan follows from.
    pub inputs: Inputs,
    /// Blocks that this node owns.
    pub blocks: Vec<Block>,
}

/// Where it is kept, mode 0600.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// In `folder`, which is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> std::io::Result<Self> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            path: folder.join("last-known.json"),
        })
    }

    /// What was kept; none when nothing was, or when it does not parse (then the API server is waited for).
    pub fn load(&self) -> Option<LastKnown> {
        let bytes = std::fs::read(&self.path).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(path = %self.path.display(), %error, "last known state is unreadable, waiting for the API server"))
            .ok()
    }

    /// Keeps `state`, whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn store(&self, state: &LastKnown) -> std::io::Result<()> {
        files::replace(&self.path, &serde_json::to_vec(state)?)
    }
}
