//! The cluster under proof: 3 nodes in 2 racks, dual stack, Margay installed as a user would, two small apps.

use crate::{install, peering::Peering, report::Report};
use anyhow::{Context, Result};
use margay_lab::{Lab, Seen, Spec, wait_until};
use std::{net::IpAddr, path::PathBuf, time::Duration};

pub(crate) const WHAT_TO_TRY: &str = "
The cluster stays up. Try, as root:
  lab=$(ls -d target/*/release/lab)
  $lab kubectl -- get nodes,pods -A -o wide
  $lab exec cp -- $PWD/$(dirname $lab)/margayctl bgp peers
  $lab exec n1 -- ip route
  $lab exec tor1 -- birdc show route
  $lab logs n1 kubelet
Stop it with `make down`.";

/// A pod of the apps.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) name: &'static str,
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
}

impl App {
    /// How the lab names its network namespace.
    pub(crate) fn place(&self) -> String {
        format!("pod:demo/{}", self.name)
    }

    /// Its address of the family of `like`.
    pub(crate) fn address(&self, v4: bool) -> Result<IpAddr> {
        let found = self.addresses.iter().find(|a| a.is_ipv4() == v4);
        found
            .copied()
            .with_context(|| format!("pod {} has no {} address", self.name, family(v4)))
    }
}

/// For people.
pub(crate) fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// Both families; [`Cluster::families`] are those that a lab has.
pub(crate) const FAMILIES: [bool; 2] = [true, false];

/// A running cluster with Margay and the apps: `a1` and `a2` on n1, `b` on n2 of the same rack, `c` on the last node, which is in the last rack.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) lab: Lab,
    apps: Vec<App>,
}

impl Cluster {
    /// Brings the standard one up, each step a check.
    pub(crate) fn up(name: &str, report: &mut Report) -> Result<Self> {
        report.title("install", "one command and one Installation");
        let spec = Spec {
            name: name.into(),
            ..Spec::default()
        };
        Self::of(spec, Peering::Racks, report)
    }

    /// Brings one of any shape up.
    pub(crate) fn of(spec: Spec, peering: Peering, report: &mut Report) -> Result<Self> {
        let spec = Spec {
            image_archives: vec![root().join("target/images/margay.tar")],
            ..spec
        };
        let lab = Lab::up(&spec)?;
        install::install(&lab, peering, report)?;
        install::apps(&lab)?;
        let apps = wait_until(
            "the apps run with an address of each family",
            Duration::from_secs(90),
            || running(&lab),
        )?;
        Ok(Self { lab, apps })
    }

    /// Takes it down.
    pub(crate) fn down(self) -> Result<()> {
        Lab::down(&self.lab.spec().name)?;
        Ok(())
    }

    /// The families of the lab: whether each is IPv4.
    pub(crate) fn families(&self) -> Vec<bool> {
        self.lab.plan().choose(true, false)
    }

    /// An app by name.
    pub(crate) fn app(&self, name: &str) -> &App {
        self.apps
            .iter()
            .find(|a| a.name == name)
            .expect("scenarios name apps that install::apps makes")
    }

    /// Runs `margayctl` as a user with a kubeconfig would.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let binary = beside("margayctl")?;
        let mut argv = vec![binary.as_str()];
        argv.extend(arguments);
        self.lab.exec("cp", &argv)
    }

    /// What it prints, whatever its exit code.
    pub(crate) fn ctl_output(&self, arguments: &[&str]) -> Result<String> {
        let binary = beside("margayctl")?;
        let mut argv = vec![binary.as_str()];
        argv.extend(arguments);
        let output = self.lab.command("cp", &argv)?.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same with `-o json`.
    pub(crate) fn ctl_json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = self.ctl(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("margayctl {} printed no JSON: {text}", arguments.join(" ")))
    }
}

/// The checkout's root: the working folder or one above.
pub(crate) fn root() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    here.ancestors()
        .find(|d| d.join("manifests").is_dir())
        .unwrap_or(&here)
        .to_owned()
}

/// A binary built beside this one.
pub(crate) fn beside(name: &str) -> Result<String> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is not built", path.display());
    Ok(path.display().to_string())
}

fn running(lab: &Lab) -> Result<Seen<Vec<App>>> {
    let list = lab.kubectl_json(&["get", "pods", "-n", "demo", "-o", "json"])?;
    let mut apps = Vec::new();
    for name in install::APPS {
        let pods = list["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let Some(pod) = pods.iter().find(|p| p["metadata"]["name"] == name) else {
            return Ok(Seen::NotYet(format!("pod {name} is not there")));
        };
        let ready = pod["status"]["conditions"].as_array().is_some_and(|c| {
            c.iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        });
        let addresses: Vec<IpAddr> = pod["status"]["podIPs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|ip| ip["ip"].as_str()?.parse().ok())
            .collect();
        if !ready || addresses.len() != lab.plan().choose((), ()).len() {
            return Ok(Seen::NotYet(format!(
                "{name}: {}, {addresses:?}",
                pod["status"]["phase"]
            )));
        }
        apps.push(App {
            name,
            node: pod["spec"]["nodeName"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            addresses,
        });
    }
    Ok(Seen::Holds(apps))
}
