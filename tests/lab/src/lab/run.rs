//! Running things in a lab.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Lab;
use crate::process::{self, Entry};
use crate::wait::{Seen, wait_until};

const END_LIMIT: Duration = Duration::from_secs(10);

/// A process in a lab that ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lab {
    /// A command that will run in a place: its network namespace, its mounts, `kubectl` in the path.
    ///
    /// # Errors
    /// If the lab has no such place or it is not up.
    pub fn command(&self, place: &str, argv: &[&str]) -> Result<Command> {
        self.places.command(place, argv)
    }

    /// Runs a command in a place and returns its standard output.
    ///
    /// # Errors
    /// If it cannot run or ends with another code than 0; then the error holds what it said.
    pub fn exec(&self, place: &str, argv: &[&str]) -> Result<String> {
        let output = self.command(place, argv)?.stdin(Stdio::null()).output()?;
        text_of(output).with_context(|| format!("{place}: {}", argv.join(" ")))
    }

    /// Starts a command in a place; it is killed when the result is dropped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, place: &str, argv: &[&str]) -> Result<Running> {
        let mut command = self.command(place, argv)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Running { child })
    }

    /// Runs kubectl as the cluster's administrator and returns its standard output.
    ///
    /// # Errors
    /// If it ends with another code than 0; then the error holds what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self
            .kubectl_command(arguments)?
            .stdin(Stdio::null())
            .output()?;
        text_of(output).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// As [`Lab::kubectl`] with `-o json`, parsed.
    ///
    /// # Errors
    /// As there, and if the output is no JSON.
    pub fn kubectl_json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["-o", "json"]].concat();
        serde_json::from_str(&self.kubectl(&arguments)?).context("kubectl's JSON")
    }

    /// Applies manifests (YAML or JSON, any number of documents) by server-side apply.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl_with_input(
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            manifests,
        )
    }

    /// As [`Lab::kubectl`], with a standard input.
    ///
    /// # Errors
    /// As there.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command(arguments)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(input.as_bytes())?;
        text_of(child.wait_with_output()?)
            .with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// kubectl as it runs in the control plane's place, in the caller's working folder.
    ///
    /// # Errors
    /// If the lab is not up.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        // Entering the place's mounts leaves a process in `/`, where a relative path would mean another file.
        let here = std::env::current_dir().context("the working folder")?;
        let folder = format!("--chdir={}", here.display());
        self.command("cp", &[&["env", &folder, "kubectl"], arguments].concat())
    }

    /// Runs a command in a pod's first container (`kubectl exec`).
    ///
    /// # Errors
    /// If it ends with another code than 0; then the error holds what it said.
    pub fn pod_exec(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", "-n", namespace, pod, "--"], argv].concat())
    }

    /// A command of BIRD's client on `spine` or on a ToR that runs BIRD.
    ///
    /// # Errors
    /// If BIRD does not run there or does not know the command.
    pub fn birdc(&self, place: &str, command: &str) -> Result<String> {
        self.exec(place, &["birdc", command])
    }

    /// A command of vtysh on a ToR that runs FRR.
    ///
    /// # Errors
    /// If FRR does not run there or does not know the command.
    pub fn vtysh(&self, place: &str, command: &str) -> Result<String> {
        self.exec(place, &["vtysh", "-c", command])
    }

    /// Imports OCI archives on every node.
    ///
    /// # Errors
    /// If a file is missing or containerd refuses it.
    pub fn load_images<P: AsRef<Path> + Sync>(&self, archives: &[P]) -> Result<()> {
        for archive in archives {
            let archive = archive.as_ref();
            // From the machine's own view: a path in /etc, /opt or /var is hidden on nodes.
            fs::metadata(archive)
                .with_context(|| format!("image archive {}", archive.display()))?;
        }
        self.on_every_node(|node| {
            for archive in archives {
                let file = fs::File::open(archive)?;
                let mut command =
                    self.command(node, &["ctr", "-n", "k8s.io", "images", "import", "-"])?;
                text_of(command.stdin(file).output()?)
                    .with_context(|| format!("{node}: importing {}", archive.as_ref().display()))?;
            }
            Ok(())
        })
    }

    /// The ids of the processes of that name (at most 15 bytes count) in a place's network namespace: the place's own,
    /// and those of hostNetwork pods. Ids are the machine's: `pkill` in a place would reach everything on the machine.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn pids(&self, place: &str, name: &str) -> Result<Vec<i32>> {
        Ok(self
            .named(place, name)?
            .into_iter()
            .map(|entry| entry.process.pid)
            .collect())
    }

    /// Sends a signal (`KILL`, `STOP`, `CONT`, …) to the processes that [`Lab::pids`] finds; returns how many there were.
    ///
    /// # Errors
    /// If there is no such signal, or none could be sent.
    pub fn kill(&self, place: &str, name: &str, signal: &str) -> Result<usize> {
        let signal: Signal = format!("SIG{signal}")
            .parse()
            .with_context(|| format!("no signal {signal:?}"))?;
        let entries = self.named(place, name)?;
        for entry in &entries {
            entry.process.signal(signal)?;
        }
        Ok(entries.len())
    }

    fn named(&self, place: &str, name: &str) -> Result<Vec<Entry>> {
        self.places.holder(place)?;
        let net = process::namespace_inode(&self.places.netns_path(place))
            .context("the namespace is gone")?;
        let comm: String = name.chars().take(15).collect();
        let mut entries = process::all()?;
        entries.retain(|entry| entry.net == Some(net) && entry.name == comm);
        Ok(entries)
    }

    /// Ends one of the lab's own processes (`("tor1", "bird")`, `("n1", "kubelet")`, `("cp", "kube-apiserver")`) the hard
    /// way, if it still runs, and starts it again. It does not wait until it serves.
    ///
    /// # Errors
    /// If the lab has no such process or it does not start.
    pub fn restart(&self, place: &str, name: &str) -> Result<()> {
        self.restart_with(place, name, &[])
    }

    /// As [`Lab::restart`], with more arguments than it was started with first: `-R`, say, which makes BIRD recover.
    ///
    /// # Errors
    /// As there.
    pub fn restart_with(&self, place: &str, name: &str, more: &[&str]) -> Result<()> {
        let daemon = self
            .places
            .recorded(place, name)
            .filter(|daemon| !daemon.argv.is_empty());
        let daemon = daemon.with_context(|| format!("the lab started no {name:?} on {place:?}"))?;
        daemon.process.signal(Signal::SIGKILL)?;
        wait_until(&format!("the end of {name} on {place}"), END_LIMIT, || {
            let alive = daemon.process.is_alive();
            Ok(if alive {
                Seen::NotYet("it runs".into())
            } else {
                Seen::Holds(())
            })
        })?;
        let mut argv = daemon.argv;
        let new = more
            .iter()
            .filter(|word| !argv.iter().any(|old| old == *word));
        let new: Vec<String> = new.map(|&word| word.to_owned()).collect();
        argv.extend(new);
        self.places.start(place, name, &argv)
    }

    /// Runs something for every node at once; the first error counts.
    pub(super) fn on_every_node(&self, work: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .nodes()
                .iter()
                .map(|node| scope.spawn(|| work(&node.name)))
                .collect();
            let results = threads
                .into_iter()
                .map(|thread| thread.join().expect("the work does not panic"));
            results.collect::<Result<Vec<()>>>().map(drop)
        })
    }
}

fn text_of(output: Output) -> Result<String> {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!(
            "{}: {} {}",
            output.status,
            said(&output.stderr),
            said(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
