//! The cgroups of a lab's containers. Their names are the containers' ids, which containerd also keeps on disk: the only
//! thing that ties a container to its lab once its shim is gone.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::folder::Folder;
use crate::wait::{Seen, wait_until};

/// Where containerd keeps a folder per sandbox and per container, named by their ids.
const STATE: &str = "var/lib/containerd/io.containerd.grpc.v1.cri";
/// The folder that containerd puts containers' cgroups in when a pod names no parent.
const PARENT: &str = "k8s.io";

const LIMIT: Duration = Duration::from_secs(5);

/// The ids of the containers on all nodes of a lab.
pub(crate) fn containers(folder: &Folder) -> HashSet<String> {
    entries(&folder.nodes())
        .flat_map(|node| containers_in(&node))
        .collect()
}

/// The ids of the containers on one node.
pub(crate) fn containers_of(folder: &Folder, node: &str) -> HashSet<String> {
    containers_in(&folder.node(node))
}

fn containers_in(node: &Path) -> HashSet<String> {
    let kinds = ["sandboxes", "containers"].map(|kind| node.join(STATE).join(kind));
    let folders = kinds.into_iter().flat_map(|kind| entries(&kind));
    folders
        .filter_map(|path| path.file_name()?.to_str().map(String::from))
        .collect()
}

/// Removes the cgroups of containers in every hierarchy (cgroup v1) or in the one (v2).
///
/// # Errors
/// The first failure; the rest has been removed by then.
pub(crate) fn remove(containers: &HashSet<String>) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let mut result = Ok(());
    for hierarchy in entries(root).chain([root.to_owned()]) {
        let parent = hierarchy.join(PARENT);
        let present = containers
            .iter()
            .map(|container| parent.join(container))
            .filter(|path| path.is_dir());
        for path in present {
            let removed = remove_tree(&path);
            result = result.and(removed);
        }
        // Not empty while another lab, or the machine's own containerd, has containers.
        let _ = fs::remove_dir(parent);
    }
    result
}

fn remove_tree(path: &Path) -> Result<()> {
    for child in entries(path).filter(|child| child.is_dir()) {
        remove_tree(&child)?;
    }
    // Threads of a process outlive its first one, a zombie by then, for a moment.
    wait_until(&format!("removing {}", path.display()), LIMIT, || {
        Ok(Seen::Holds(fs::remove_dir(path)?))
    })
}

/// What is in a folder; nothing if there is no such folder.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}
