//! Taking a lab down, whole or half.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Lab;
use crate::cgroup;
use crate::folder::Folder;
use crate::network;
use crate::plan::check_name;
use crate::process::{self, Entry, Marks, victims};
use crate::tools;

const KILL_LIMIT: Duration = Duration::from_secs(20);

impl Lab {
    /// Ends every process of the lab, then removes its namespaces, cgroups and state folder. Also for what is left of a
    /// lab that was killed half-way; for no lab at all it does nothing. Returns whether there was anything.
    ///
    /// # Errors
    /// If something cannot be ended or removed; all else has been by then.
    pub fn down(name: &str) -> Result<bool> {
        check_name(name)?;
        tools::check_root()?;
        let folder = Folder::of(name);
        if !folder.path().exists() && network::existing(name).is_empty() {
            return Ok(false);
        }
        let _lock = lock(&folder)?;
        clean(name, &folder)?;
        Ok(true)
    }
}

/// One `up` or `down` of a lab at a time.
pub(super) fn lock(folder: &Folder) -> Result<File> {
    let path = folder.lock_file();
    fs::create_dir_all(path.parent().expect("the state folder has a parent"))?;
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    file.lock()
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// Processes first: a namespace lives as long as a process is in it.
pub(super) fn clean(name: &str, folder: &Folder) -> Result<()> {
    refuse_foreign(name, folder)?;
    let steps = [
        end_processes(name, folder),
        network::remove(name),
        cgroup::remove(&cgroup::containers(folder)),
    ];
    let failures: Vec<String> = steps
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    if !failures.is_empty() {
        bail!("lab {name} is not down completely: {}", failures.join("; "));
    }
    // Last, because it says what there is to remove.
    remove_folder(folder.path())
}

/// Another checkout may have a lab of the same name, and namespaces' names are the machine's.
fn refuse_foreign(name: &str, folder: &Folder) -> Result<()> {
    let nets = lab_nets(name);
    let own = folder.path().to_string_lossy();
    for entry in process::all()? {
        let Some(lab) = entry
            .lab
            .filter(|_| entry.net.is_some_and(|net| nets.contains(&net)))
        else {
            continue;
        };
        if lab != own {
            bail!("a lab {name:?} of another checkout is up ({lab}); choose another name");
        }
    }
    Ok(())
}

fn end_processes(name: &str, folder: &Folder) -> Result<()> {
    let begin = Instant::now();
    loop {
        let found = lab_processes(name, folder)?;
        if found.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > KILL_LIMIT {
            let names: Vec<_> = found
                .iter()
                .map(|entry| format!("{} ({})", entry.process.pid, entry.name))
                .collect();
            bail!("processes that do not end: {}", names.join(", "));
        }
        for entry in found {
            entry.process.signal(Signal::SIGKILL)?;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn lab_processes(name: &str, folder: &Folder) -> Result<Vec<Entry>> {
    let entries = process::all()?;
    let mut marks = Marks {
        nets: lab_nets(name),
        folder: folder.path().to_string_lossy().into_owned(),
        containers: cgroup::containers(folder),
        outer_mounts: ["/proc/1/ns/mnt", "/proc/self/ns/mnt"]
            .into_iter()
            .filter_map(|path| process::namespace_inode(Path::new(path)))
            .collect(),
        spared: ancestry(&entries),
    };
    // Pods' namespaces are bound in the nodes' mounts, which are seen through any process of the node.
    let pods: Vec<u64> = victims(&entries, &marks)
        .iter()
        .flat_map(|entry| bound_nets(entry, &marks))
        .collect();
    marks.nets.extend(pods);
    Ok(victims(&entries, &marks))
}

fn lab_nets(name: &str) -> HashSet<u64> {
    network::existing(name)
        .iter()
        .filter_map(|path| process::namespace_inode(path))
        .collect()
}

pub(super) fn bound_nets(entry: &Entry, marks: &Marks) -> Vec<u64> {
    if entry
        .mount
        .is_none_or(|mount| marks.outer_mounts.contains(&mount))
    {
        return Vec::new();
    }
    let folder = format!("/proc/{}/root/run/netns", entry.process.pid);
    let Ok(handles) = fs::read_dir(folder) else {
        return Vec::new();
    };
    handles
        .filter_map(|handle| process::namespace_inode(&handle.ok()?.path()))
        .collect()
}

/// This process and its ancestors.
pub(super) fn ancestry(entries: &[Entry]) -> HashSet<i32> {
    let mut pids = HashSet::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next {
        pids.insert(pid);
        next = entries
            .iter()
            .find(|entry| entry.process.pid == pid)
            .map(|entry| entry.parent);
    }
    pids
}

fn remove_folder(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))
}
