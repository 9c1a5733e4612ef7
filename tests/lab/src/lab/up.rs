//! Bringing a lab up, step by step.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Lab, Record, down};
use crate::network;
use crate::pki;
use crate::plan::{Runtime, Spec, Tor};
use crate::progress::Progress;
use crate::render::{bird, cluster, dns, frr, node};
use crate::tools;

const STEPS: usize = 11;

impl Lab {
    /// Brings a lab up: builds what is missing, cleans what an earlier one left, starts everything. A healthy lab with
    /// the same spec is left as it is, but for the image archives, which are imported again. It returns when the nodes are registered (they are not Ready: the lab has no pod
    /// network), the ToRs' sessions with the spine are up and CoreDNS is deployed.
    ///
    /// Progress goes to standard error.
    ///
    /// # Errors
    /// Without root or a tool (before anything is touched), if a lab of this name with another spec is healthy, or if
    /// something does not start; the error then names it and the end of its log.
    pub fn up(spec: &Spec) -> Result<Self> {
        let mut lab = Self::of(spec.clone())?;
        tools::check()?;
        for archive in &mut lab.spec.image_archives {
            *archive = fs::canonicalize(&*archive)
                .with_context(|| format!("image archive {}", archive.display()))?;
        }
        let _lock = down::lock(&lab.places.folder)?;
        if let Some(healthy) = lab.already_up()? {
            return Ok(healthy);
        }
        let mut progress = Progress::new(STEPS);
        progress.lines("Kubernetes binaries and images", || lab.build())?;
        progress.step("remains of an earlier lab", || {
            down::clean(&spec.name, &lab.places.folder)
        })?;
        progress.step("certificates and configuration", || lab.prepare())?;
        progress.step("namespaces, links, mounts", || lab.make_places())?;
        progress.step("routers", || lab.start_routers())?;
        progress.step("etcd, API server", || lab.start_api_server())?;
        progress.step("controllers, scheduler", || lab.start_controllers())?;
        progress.step("containerd, images", || lab.load_all_images())?;
        progress.step("kubelets, kube-proxies", || lab.start_nodes())?;
        progress.step("nodes registered, CoreDNS", || lab.populate())?;
        progress.step("BGP sessions of the fabric", || lab.wait_for_fabric())?;
        Record {
            spec: lab.spec.clone(),
            complete: true,
        }
        .write(&lab.places.folder)?;
        Ok(lab)
    }

    fn already_up(&self) -> Result<Option<Self>> {
        let Some(record) = Record::read(&self.places.folder) else {
            return Ok(None);
        };
        let present = Self::of(record.spec)?;
        if !present.status().is_ok_and(|status| status.is_healthy()) || !present.answers() {
            return Ok(None);
        }
        let same = Spec {
            image_archives: self.spec.image_archives.clone(),
            ..present.spec.clone()
        } == self.spec;
        ensure!(
            same,
            "lab {} is up as something else ({:?}): take it down first",
            self.spec.name,
            present.spec
        );
        // They may have been built anew; containerd skips the layers that it has.
        present.load_images(&self.spec.image_archives)?;
        Ok(Some(present))
    }

    fn answers(&self) -> bool {
        self.kubectl(&["--request-timeout=2s", "get", "--raw", "/readyz"])
            .is_ok()
    }

    fn build(&self) -> Result<()> {
        run_script(&self.places.folder.build_script())?;
        match self.spec.runtime {
            Runtime::Containerd1 => Ok(()),
            Runtime::Containerd2 => run_script(&self.places.folder.containerd_script()),
        }
    }

    /// Writes every file; from here on the folder says that there is a lab, though not a complete one.
    fn prepare(&self) -> Result<()> {
        let (plan, folder) = (self.plan(), &self.places.folder);
        folder.create()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        Record {
            spec: self.spec.clone(),
            complete: false,
        }
        .write(folder)?;
        pki::write(plan, &folder.pki())?;
        let write = |file: &str, text: String| fs::write(folder.config(file), text);
        let users = ["admin", "controller-manager", "scheduler", "proxy"].into_iter();
        for user in users.chain(plan.nodes.iter().map(|node| node.name.as_str())) {
            fs::write(
                folder.kubeconfig(user),
                cluster::kubeconfig(plan, user, &folder.pki()).to_string(),
            )?;
        }
        write("audit.json", cluster::audit_policy().to_string())?;
        write("containerd.toml", node::containerd(plan.runtime))?;
        for node in &plan.nodes {
            write(
                &format!("{}.kubelet.json", node.name),
                node::kubelet(plan, node, &folder.pki()).to_string(),
            )?;
            let proxy = node::proxy(plan, node, &folder.kubeconfig("proxy"));
            write(&format!("{}.kube-proxy.json", node.name), proxy.to_string())?;
        }
        write("spine.bird.conf", bird::spine(plan))?;
        for rack in plan.tors() {
            match rack.tor {
                Tor::Bird => write(
                    &format!("{}.bird.conf", rack.tor_place()),
                    bird::tor(plan, rack),
                )?,
                Tor::Frr => {
                    write(
                        &format!("{}.zebra.conf", rack.tor_place()),
                        frr::zebra(rack),
                    )?;
                    write(
                        &format!("{}.bgpd.conf", rack.tor_place()),
                        frr::bgpd(plan, rack),
                    )?;
                }
            }
        }
        Ok(())
    }

    fn make_places(&self) -> Result<()> {
        network::create_namespaces(self.plan())?;
        for place in self.plan().places() {
            self.places.open(&place)?;
        }
        // After the sysctls of the places, which new interfaces inherit.
        network::connect(self.plan())
    }

    fn populate(&self) -> Result<()> {
        let mut objects = dns::manifest(self.plan());
        objects.push(cluster::kubelet_api_binding());
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.apply(&list.to_string())?;
        self.wait_for_nodes()?;
        self.wait_for_service_account()
    }
}

/// Runs a build script.
fn run_script(path: &Path) -> Result<()> {
    // Its progress belongs on the same stream as ours.
    let stream = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()?;
    let status = Command::new(path)
        .stdin(Stdio::null())
        .stdout(stream)
        .status();
    let status = status.with_context(|| format!("starting {}", path.display()))?;
    ensure!(status.success(), "{} has failed", path.display());
    Ok(())
}
