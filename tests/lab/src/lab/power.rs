//! Nodes that lose their power, and get it back.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Lab;
use crate::cgroup;
use crate::network;
use crate::process::{self, Entry, Marks, victims};
use crate::wait::{Seen, wait_until};

const KILL_LIMIT: Duration = Duration::from_secs(20);
const START_LIMIT: Duration = Duration::from_secs(30);
/// What a node runs, in the order in which it starts.
const DAEMONS: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

impl Lab {
    /// Reboots a node: [`Lab::power_off`], then [`Lab::power_on`].
    ///
    /// # Errors
    /// As theirs.
    pub fn reboot(&self, node: &str) -> Result<()> {
        self.power_off(node)?;
        self.power_on(node)
    }

    /// Ends everything on a node at once, pods included, and removes its network namespace and its `/run`. Its disk stays: what kubelet,
    /// containerd and agents keep below `/var/lib`, and `/etc/cni/net.d`.
    ///
    /// # Errors
    /// If there is no such node, or something of it does not end.
    pub fn power_off(&self, node: &str) -> Result<()> {
        self.check_node(node)?;
        // First: a process that ends says goodbye to its peers, a node without power does not.
        network::disconnect_place(self.plan(), node)?;
        let begin = Instant::now();
        loop {
            let found = self.processes_of(node)?;
            if found.is_empty() {
                break;
            }
            if begin.elapsed() > KILL_LIMIT {
                bail!("{} processes of {node} do not end", found.len());
            }
            for entry in found {
                entry.process.signal(Signal::SIGKILL)?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        network::remove_place(self.plan(), node)?;
        cgroup::remove(&cgroup::containers_of(&self.places.folder, node))
    }

    /// Gives a node that [`Lab::power_off`] ended a new network namespace with its links and addresses, a fresh `/run`, and starts its
    /// daemons. It does not wait until the node is Ready.
    ///
    /// # Errors
    /// If something cannot be made or started.
    pub fn power_on(&self, node: &str) -> Result<()> {
        self.check_node(node)?;
        network::create_place(self.plan(), node)?;
        self.places.open(node)?;
        network::connect_place(self.plan(), node)?;
        for name in DAEMONS {
            let daemon = self.places.recorded(node, name);
            let daemon = daemon.with_context(|| format!("the lab started no {name} on {node}"))?;
            self.places.start(node, name, &daemon.argv)?;
            if name == "containerd" {
                wait_until(&format!("containerd on {node}"), START_LIMIT, || {
                    self.exec(node, &["ctr", "version"]).map(Seen::Holds)
                })?;
            }
        }
        Ok(())
    }

    fn check_node(&self, node: &str) -> Result<()> {
        self.plan()
            .node(node)
            .map(drop)
            .with_context(|| format!("lab {} has no node {node}", self.spec.name))
    }

    /// By namespace, mounts, cgroup and descent, as when a whole lab goes down.
    fn processes_of(&self, node: &str) -> Result<Vec<Entry>> {
        let entries = process::all()?;
        let net = process::namespace_inode(&self.places.netns_path(node));
        let mut marks = Marks {
            nets: net.into_iter().collect(),
            // Everything of the lab has this mark, other nodes too.
            folder: String::new(),
            containers: cgroup::containers_of(&self.places.folder, node),
            outer_mounts: outer_mounts(),
            spared: super::down::ancestry(&entries),
        };
        let pods: Vec<u64> = victims(&entries, &marks)
            .iter()
            .flat_map(|entry| super::down::bound_nets(entry, &marks))
            .collect();
        marks.nets.extend(pods);
        Ok(victims(&entries, &marks))
    }
}

fn outer_mounts() -> HashSet<u64> {
    ["/proc/1/ns/mnt", "/proc/self/ns/mnt"]
        .into_iter()
        .filter_map(|path| process::namespace_inode(Path::new(path)))
        .collect()
}
