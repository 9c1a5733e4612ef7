//! Starting the processes of a lab, and waiting until they serve.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Lab;
use crate::plan::{RACK_LABEL, Rack, Tor};
use crate::render::cluster;
use crate::render::node::STATIC_PODS;
use crate::wait::{Seen, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const FRR: &str = "/usr/lib/frr";

impl Lab {
    pub(super) fn start_routers(&self) -> Result<()> {
        self.start_bird("spine")?;
        for rack in self.plan().tors() {
            match rack.tor {
                Tor::Bird => self.start_bird(&rack.tor_place())?,
                Tor::Frr => self.start_frr(rack)?,
            }
        }
        Ok(())
    }

    fn start_bird(&self, place: &str) -> Result<()> {
        let config = self.places.folder.config(&format!("{place}.bird.conf"));
        let config = config.display().to_string();
        self.places.start(
            place,
            "bird",
            &["bird", "-f", "-c", &config, "-s", "/run/bird/bird.ctl"],
        )
    }

    /// FRR's daemons run as the user `frr`, who may not be able to read the checkout: they get a copy in the ToR's `/run`.
    fn start_frr(&self, rack: &Rack) -> Result<()> {
        let place = rack.tor_place();
        for daemon in ["zebra", "bgpd"] {
            let config = self
                .places
                .folder
                .config(&format!("{place}.{daemon}.conf"))
                .display()
                .to_string();
            let copy = format!("/run/frr/{daemon}.conf");
            self.exec(
                &place,
                &[
                    "install", "-o", "frr", "-g", "frr", "-m", "640", &config, &copy,
                ],
            )?;
            let program = format!("{FRR}/{daemon}");
            self.places.start(
                &place,
                daemon,
                &[&program, "-f", &copy, "--log", "stdout", "-A", "127.0.0.1"],
            )?;
            // bgpd gives up on a zebra that does not listen yet for seconds.
            let socket = format!("/run/frr/{daemon}.vty");
            self.wait_while_running(&place, daemon, || {
                self.exec(&place, &["test", "-S", &socket])
            })?;
        }
        Ok(())
    }

    /// containerd starts meanwhile, because both take seconds.
    pub(super) fn start_api_server(&self) -> Result<()> {
        let folder = &self.places.folder;
        self.places.start(
            "cp",
            "etcd",
            &argv("etcd", cluster::etcd_arguments(folder.path())),
        )?;
        let arguments = cluster::api_server_arguments(self.plan(), folder.path());
        self.start_binary("cp", "kube-apiserver", arguments)?;
        let config = folder.config("containerd.toml").display().to_string();
        for node in self.nodes() {
            self.places.start(
                &node.name,
                "containerd",
                &["containerd", "--config", &config],
            )?;
        }
        self.wait_while_running("cp", "kube-apiserver", || {
            self.kubectl(&["get", "--raw", "/readyz"])
        })
    }

    pub(super) fn start_controllers(&self) -> Result<()> {
        let state = self.places.folder.path();
        self.start_binary(
            "cp",
            "kube-controller-manager",
            cluster::controller_manager_arguments(state),
        )?;
        self.start_binary("cp", "kube-scheduler", cluster::scheduler_arguments(state))
    }

    pub(super) fn load_all_images(&self) -> Result<()> {
        for node in self.nodes() {
            self.wait_while_running(&node.name, "containerd", || {
                self.exec(&node.name, &["ctr", "version"])
            })?;
        }
        let archives: Vec<_> = self
            .places
            .folder
            .images()
            .into_iter()
            .chain(self.spec.image_archives.iter().cloned())
            .collect();
        self.load_images(&archives)
    }

    pub(super) fn start_nodes(&self) -> Result<()> {
        for node in self.nodes() {
            let name = &node.name;
            let rack = self
                .plan()
                .rack(node.rack)
                .context("a node's rack exists")?;
            let kubelet = vec![
                format!(
                    "--config={}",
                    self.places
                        .folder
                        .config(&format!("{name}.kubelet.json"))
                        .display()
                ),
                format!(
                    "--kubeconfig={}",
                    self.places.folder.kubeconfig(name).display()
                ),
                "--root-dir=/var/lib/kubelet".into(),
                format!("--hostname-override={name}"),
                format!("--node-ip={}", node.fabric.joined()),
                format!("--node-labels={RACK_LABEL}={}", rack.label()),
            ];
            self.exec(name, &["mkdir", "-p", STATIC_PODS])?;
            self.start_binary(name, "kubelet", kubelet)?;
            let config = self
                .places
                .folder
                .config(&format!("{name}.kube-proxy.json"));
            self.start_binary(
                name,
                "kube-proxy",
                vec![format!("--config={}", config.display())],
            )?;
        }
        Ok(())
    }

    pub(super) fn wait_for_nodes(&self) -> Result<()> {
        wait_until("nodes registered", LIMIT, || {
            if let Some(why) = self
                .nodes()
                .iter()
                .find_map(|node| self.has_ended(&node.name, "kubelet"))
            {
                return Ok(Seen::Never(why));
            }
            let registered = self.kubectl(&["get", "nodes", "-o", "name"])?;
            let all = registered.lines().count() == self.nodes().len();
            Ok(if all {
                Seen::Holds(())
            } else {
                Seen::NotYet(registered)
            })
        })
    }

    /// Without it the API server refuses pods.
    pub(super) fn wait_for_service_account(&self) -> Result<()> {
        wait_until("the default service account", LIMIT, || {
            let found = self.kubectl(&["get", "serviceaccount", "default", "-o", "name"]);
            found.map(|_| Seen::Holds(()))
        })
    }

    /// Every ToR has its session with the spine.
    pub(super) fn wait_for_fabric(&self) -> Result<()> {
        wait_until("BGP sessions between ToRs and spine", LIMIT, || {
            let protocols = self.birdc("spine", "show protocols")?;
            let up = |rack: &Rack| {
                let name = rack.tor_place();
                protocols.lines().any(|line| {
                    line.split_whitespace().next() == Some(&name) && line.contains("Established")
                })
            };
            Ok(if self.plan().tors().all(up) {
                Seen::Holds(())
            } else {
                Seen::NotYet(protocols.clone())
            })
        })
    }

    fn start_binary(&self, place: &str, name: &str, arguments: Vec<String>) -> Result<()> {
        let program = self.places.folder.binary(name);
        if fs::metadata(&program).is_err() {
            bail!(
                "{} is missing: run tests/kubernetes/build.sh",
                program.display()
            );
        }
        self.places
            .start(place, name, &argv(&program.to_string_lossy(), arguments))
    }

    /// Waits until a look at a process succeeds; if the process ends meanwhile, its log says why.
    fn wait_while_running(
        &self,
        place: &str,
        name: &str,
        look: impl Fn() -> Result<String>,
    ) -> Result<()> {
        wait_until(&format!("{name} on {place}"), LIMIT, || {
            if let Some(why) = self.has_ended(place, name) {
                return Ok(Seen::Never(why));
            }
            look().map(|_| Seen::Holds(()))
        })
    }

    /// Whether a process that the lab started has ended, and its last words.
    #[must_use]
    pub fn has_ended(&self, place: &str, name: &str) -> Option<String> {
        let ended = self.places.daemon(place, name).is_none();
        ended.then(|| {
            format!(
                "{name} on {place} has ended: {}",
                self.places.log_tail(place, name)
            )
        })
    }
}

fn argv(program: &str, arguments: Vec<String>) -> Vec<String> {
    std::iter::once(program.to_owned())
        .chain(arguments)
        .collect()
}
