//! The cgroups of a lab's containers. Their names are the containers' ids, which containerd also keeps on disk: the only
//! thing that ties a container to its lab once its shim is gone.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::folder::Folder;

/// Where containerd keeps a folder per sandbox and per container, named by their ids.
const STATE: &str = "var/lib/containerd/io.containerd.grpc.v1.cri";
/// The folder that containerd puts containers' cgroups in when a pod names no parent.
const PARENT: &str = "k8s.io";

/// The ids of the containers on all nodes of a lab.
pub(crate) fn containers(folder: &Folder) -> HashSet<String> {
    let nodes = entries(&folder.nodes());
    let kinds =
        nodes.flat_map(|node| ["sandboxes", "containers"].map(|kind| node.join(STATE).join(kind)));
    let folders = kinds.flat_map(|kind| entries(&kind).collect::<Vec<_>>());
    folders
        .filter_map(|path| path.file_name()?.to_str().map(String::from))
        .collect()
}

/// Removes the cgroups of containers in every hierarchy (cgroup v1) or in the one (v2).
pub(crate) fn remove(containers: &HashSet<String>) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    for hierarchy in entries(root).chain([root.to_owned()]) {
        let parent = hierarchy.join(PARENT);
        for container in containers {
            let path = parent.join(container);
            if path.is_dir() {
                remove_tree(&path)?;
            }
        }
        // Not empty while another lab, or the machine's own containerd, has containers.
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<()> {
    for child in entries(path).filter(|child| child.is_dir()) {
        remove_tree(&child)?;
    }
    fs::remove_dir(path).with_context(|| format!("removing {}", path.display()))
}

/// What is in a folder; nothing if there is no such folder.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}
