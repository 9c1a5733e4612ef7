//! Processes as `/proc` shows them.
//!
//! Process ids wrap within hours on a busy machine, so a process is its id *and* its start time, everywhere.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

mod table;

pub(crate) use table::{Marks, victims};

/// The environment variable that marks a process as part of a lab; its value is the lab's state folder.
pub(crate) const LAB_VARIABLE: &str = "MARGAY_LAB";

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub(crate) start: u64,
}

impl Process {
    /// The process that has this id now; none if there is none, or only what its parent has not reaped.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (!stat.is_zombie).then_some(Self {
            pid,
            start: stat.start,
        })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal; a process that is gone already is no error.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signalling process {}", self.pid)),
        }
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    is_zombie: bool,
    parent: i32,
    start: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `PID (NAME) STATE PPID …`; the name may itself hold spaces and brackets, so the last bracket ends it.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split(' ').collect();
        Some(Self {
            name: name.to_owned(),
            // The first thread may end before others, which hold sockets and locks until they end too.
            is_zombie: matches!(*fields.first()?, "Z" | "X")
                && fields.get(17)?.parse::<u32>().ok()? <= 1,
            parent: fields.get(1)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

/// One process and what ties it to a lab.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) process: Process,
    pub(crate) parent: i32,
    /// The name of its main thread, at most 15 bytes (`comm`).
    pub(crate) name: String,
    /// The inode of its network namespace.
    pub(crate) net: Option<u64>,
    /// The inode of its mount namespace.
    pub(crate) mount: Option<u64>,
    /// The state folder of the lab it belongs to by its environment.
    pub(crate) lab: Option<String>,
    /// The text of `/proc/PID/cgroup`.
    pub(crate) cgroups: String,
}

/// Every process that is not a zombie.
pub(crate) fn all() -> Result<Vec<Entry>> {
    let folders = fs::read_dir("/proc").context("reading /proc")?;
    let pids = folders.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(entry).collect())
}

fn entry(pid: i32) -> Option<Entry> {
    let stat = Stat::read(pid).filter(|stat| !stat.is_zombie)?;
    Some(Entry {
        process: Process {
            pid,
            start: stat.start,
        },
        parent: stat.parent,
        name: stat.name,
        net: namespace_inode(Path::new(&format!("/proc/{pid}/ns/net"))),
        mount: namespace_inode(Path::new(&format!("/proc/{pid}/ns/mnt"))),
        lab: lab_of(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()),
        cgroups: fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(),
    })
}

/// The inode of the namespace behind a path such as `/run/netns/NAME`.
pub(crate) fn namespace_inode(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.ino())
}

fn lab_of(environment: &[u8]) -> Option<String> {
    let prefix = format!("{LAB_VARIABLE}=");
    let variable = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
    Some(String::from_utf8_lossy(variable).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets() {
        let numbers = (4..=25)
            .map(|field| field.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        let stat = Stat::parse(&format!("7 (a) (b) S {numbers}")).unwrap();
        assert_eq!(
            stat,
            Stat {
                name: "a) (b".into(),
                is_zombie: false,
                parent: 4,
                start: 22
            }
        );
        assert_eq!(Stat::parse("7 (a"), None);
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn a_process_is_itself_only_with_its_start_time() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(
            !Process {
                start: own.start + 1,
                ..own
            }
            .is_alive()
        );
    }

    #[test]
    fn the_lab_is_read_from_the_environment() {
        assert_eq!(
            lab_of(b"A=1\0MARGAY_LAB=/x/lab/a\0B=2\0").as_deref(),
            Some("/x/lab/a")
        );
        assert_eq!(lab_of(b"XMARGAY_LAB=/x\0"), None);
    }
}
