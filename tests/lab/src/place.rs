//! Places: a network namespace with a mount namespace of its own, and processes in them.
//!
//! A *holder* process keeps the mount namespace of a place; everything else is started by entering it. `nsenter` is used
//! and never `ip netns exec`, which remounts `/sys` and hides the cgroup hierarchies from runc.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::plan::{Plan, Runtime};
use crate::process::{LAB_VARIABLE, Process};

const HOLDER: &str = "holder";
const HOLDER_SCRIPT: &str = include_str!("place/holder.sh");

/// What a place is, as far as its mounts and sysctls are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `/etc`, `/opt`, `/var` and `/run` of its own; forwarding off as on a fresh machine.
    Node,
    /// Forwards, and spreads flows over equal paths.
    Router,
    /// Neither.
    Host,
}

impl Kind {
    fn of(place: &str) -> Self {
        match place {
            "cp" | "outside" | "mgmt" => Self::Host,
            "spine" => Self::Router,
            tor if tor.starts_with("tor") => Self::Router,
            _ => Self::Node,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Router => "router",
            Self::Host => "host",
        }
    }
}

/// The places of one lab, and the processes that run in them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) plan: Plan,
    pub(crate) folder: Folder,
}

/// A process of the lab that was started to stay; one file each in the state folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Daemon {
    pub(crate) place: String,
    pub(crate) name: String,
    pub(crate) process: Process,
    /// What was started, so that it can be started again.
    pub(crate) argv: Vec<String>,
}

impl Places {
    /// Starts the holder of a place: from now on it can be entered.
    pub(crate) fn open(&self, place: &str) -> Result<()> {
        let folder = self.folder.node(place);
        fs::create_dir_all(&folder)?;
        let mut command = detached();
        command
            .arg("nsenter")
            .arg(self.net_argument(place))
            .args([
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                HOLDER_SCRIPT,
                "margay-lab-holder",
            ])
            .arg(Kind::of(place).as_str())
            .arg(&folder)
            .arg(crate::folder::checkout())
            .arg(self.plan.family.as_str())
            .arg(if self.plan.is_dual_homed() { "2" } else { "1" })
            .stdout(Stdio::piped())
            .stderr(File::create(self.folder.log(place, HOLDER))?);
        self.mark(&mut command);
        let mut child = command.spawn().context("starting nsenter")?;
        self.record(place, HOLDER, child.id(), Vec::new())?;
        let mut answer = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut answer)?;
        if answer.trim() != "ready" {
            bail!(
                "{place}: no private mounts: {}",
                self.log_tail(place, HOLDER)
            );
        }
        Ok(())
    }

    /// A command inside a place; it is part of the lab and ends with it.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        place: &str,
        argv: &[S],
    ) -> Result<Command> {
        let mut command = Command::new("nsenter");
        self.enter(&mut command, place)?;
        command.args(argv);
        self.mark(&mut command);
        Ok(command)
    }

    /// Starts a process that stays, with a log of its own, which goes on if there is one.
    pub(crate) fn start<S: AsRef<str>>(&self, place: &str, name: &str, argv: &[S]) -> Result<()> {
        let argv: Vec<String> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        let mut options = OpenOptions::new();
        let log = options
            .create(true)
            .append(true)
            .open(self.folder.log(place, name))?;
        let mut command = detached();
        command.arg("nsenter");
        self.enter(&mut command, place)?;
        command.args(&argv).stdout(log.try_clone()?).stderr(log);
        self.mark(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.record(place, name, child.id(), argv)
    }

    /// Every process that was started to stay, whether it still runs or not.
    pub(crate) fn daemons(&self) -> Result<Vec<Daemon>> {
        let mut daemons: Vec<Daemon> = Vec::new();
        for entry in fs::read_dir(self.folder.processes()).context("no such lab")? {
            // A file that is cut off belongs to a lab whose start was cut off.
            daemons.extend(serde_json::from_slice::<Daemon>(&fs::read(entry?.path())?).ok());
        }
        daemons.sort_by(|a, b| (&a.place, &a.name).cmp(&(&b.place, &b.name)));
        Ok(daemons)
    }

    /// The process that was started to stay under this name, whether it still runs or not.
    pub(crate) fn recorded(&self, place: &str, name: &str) -> Option<Daemon> {
        serde_json::from_slice(&fs::read(self.record_path(place, name)).ok()?).ok()
    }

    /// The process that was started to stay under this name, if it still runs.
    pub(crate) fn daemon(&self, place: &str, name: &str) -> Option<Process> {
        let process = self.recorded(place, name)?.process;
        process.is_alive().then_some(process)
    }

    /// The last lines of a process's log, on one line.
    pub(crate) fn log_tail(&self, place: &str, name: &str) -> String {
        let text = fs::read_to_string(self.folder.log(place, name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }

    pub(crate) fn netns_path(&self, place: &str) -> PathBuf {
        Path::new("/run/netns").join(self.plan.namespace(place))
    }

    /// The process whose mount namespace is the place's.
    pub(crate) fn holder(&self, place: &str) -> Result<Process> {
        if !self.plan.places().iter().any(|known| known == place) {
            bail!(
                "lab {} has no place {place:?}; it has {}",
                self.plan.name,
                self.plan.places().join(", ")
            );
        }
        self.daemon(place, HOLDER)
            .with_context(|| format!("{place} of lab {} is not up", self.plan.name))
    }

    fn enter(&self, command: &mut Command, place: &str) -> Result<()> {
        let holder = self.holder(place)?;
        command
            .arg(self.net_argument(place))
            .arg(format!("--mount=/proc/{}/ns/mnt", holder.pid))
            .arg("--");
        Ok(())
    }

    fn net_argument(&self, place: &str) -> String {
        format!("--net={}", self.netns_path(place).display())
    }

    /// Marks a command as part of the lab, and lets it find the lab's binaries and API server.
    fn mark(&self, command: &mut Command) {
        let mut path = String::new();
        if self.plan.runtime == Runtime::Containerd2 {
            path += &format!("{}:", self.folder.containerd2().display());
        }
        path += &self.folder.binaries().display().to_string();
        path += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command
            .env(LAB_VARIABLE, self.folder.path())
            .env("PATH", path)
            .env("KUBECONFIG", self.folder.kubeconfig("admin"));
    }

    fn record(&self, place: &str, name: &str, pid: u32, argv: Vec<String>) -> Result<()> {
        let process = i32::try_from(pid).ok().and_then(Process::of);
        let process = process.with_context(|| {
            format!(
                "{name} on {place} ended at once: {}",
                self.log_tail(place, name)
            )
        })?;
        let daemon = Daemon {
            place: place.into(),
            name: name.into(),
            process,
            argv,
        };
        Ok(fs::write(
            self.record_path(place, name),
            serde_json::to_vec(&daemon)?,
        )?)
    }

    fn record_path(&self, place: &str, name: &str) -> PathBuf {
        self.folder.processes().join(format!("{place}.{name}"))
    }
}

/// A command in a session of its own, so that no terminal takes it along. `setsid` and `nsenter` replace themselves: the
/// process id is that of the program in the end.
fn detached() -> Command {
    let mut command = Command::new("setsid");
    command.stdin(Stdio::null());
    command
}
