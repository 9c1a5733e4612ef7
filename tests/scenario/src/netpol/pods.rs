//! The nine pods: their objects, their sockets.

use super::arena::Arena;
use crate::matrix::{Place, Protocol};
use anyhow::{Context, Result, bail};
use margay_lab::{Seen, wait_until};
use serde_json::Value;
use std::{net::IpAddr, thread, time::Duration};

/// Pods and their nodes.
pub(super) const PODS: [(&str, &str); 9] = [
    ("x/a", "n1"),
    ("x/b", "n2"),
    ("x/c", "n3"),
    ("y/a", "n2"),
    ("y/b", "n3"),
    ("y/c", "n1"),
    ("z/a", "n3"),
    ("z/b", "n1"),
    ("z/c", "n2"),
];
pub(super) const NAMESPACES: [&str; 3] = ["x", "y", "z"];
/// What every place serves, in every protocol.
pub(super) const PORTS: [u16; 2] = [80, 81];

impl Arena<'_> {
    /// Makes them, and opens the sockets of every place.
    pub(super) fn populate(&mut self) -> Result<String> {
        let lab = &self.cluster.lab;
        lab.apply(&namespaces())?;
        // Until the controllers have made the namespaces' service accounts, pods are refused.
        wait_until("the pods are taken", Duration::from_secs(30), || {
            lab.apply(&pods()).map(Seen::Holds)
        })?;
        let pods = wait_until("the pods run", Duration::from_secs(60), || self.running())?;
        let mut places: Vec<(String, String, Vec<IpAddr>)> = PODS
            .iter()
            .zip(pods)
            .map(|((name, _), addresses)| ((*name).to_owned(), format!("pod:{name}"), addresses))
            .collect();
        for node in lab.nodes() {
            places.push((
                node.name.clone(),
                node.name.clone(),
                node.fabric.iter().collect(),
            ));
        }
        let outside = lab.plan().outside().iter().collect();
        places.push(("outside".into(), "outside".into(), outside));
        let opened: Vec<Result<Place>> = thread::scope(|scope| {
            let open = |(name, place, addresses): &(String, String, Vec<IpAddr>)| {
                Place::open(name, lab.netns(place)?, addresses, &PORTS)
            };
            let threads: Vec<_> = places
                .iter()
                .map(|place| scope.spawn(move || open(place)))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|opened| opened.unwrap_or_else(|_| bail!("a thread panicked")))
                .collect()
        });
        for place in opened {
            self.matrix.add(place?);
        }
        Ok(format!(
            "{} places serve ports 80 and 81",
            self.matrix.places().len()
        ))
    }

    /// The addresses of the pods, in the order of [`PODS`].
    fn running(&self) -> Result<Seen<Vec<Vec<IpAddr>>>> {
        let mut all = Vec::new();
        for (pod, _) in PODS {
            let (namespace, name) = pod.split_once('/').context("a pod is NAMESPACE/NAME")?;
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
            let addresses = addresses(&self.api.get(&path)?);
            if addresses.len() != 2 {
                return Ok(Seen::NotYet(format!("{pod} has {addresses:?}")));
            }
            all.push(addresses);
        }
        Ok(Seen::Holds(all))
    }
}

/// The addresses of a pod that runs.
pub(super) fn addresses(pod: &Value) -> Vec<IpAddr> {
    if pod["status"]["phase"] != "Running" {
        return Vec::new();
    }
    let ips = pod["status"]["podIPs"].as_array().into_iter().flatten();
    ips.filter_map(|ip| ip["ip"].as_str()?.parse().ok())
        .collect()
}

fn namespaces() -> String {
    let namespace = |name: &&str| {
        format!(
            "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: '{name}', labels: {{netpol: '', ns: '{name}'}}}}}}\n"
        )
    };
    NAMESPACES.iter().map(namespace).collect()
}

fn pods() -> String {
    let pod = |(pod, node): &(&str, &str)| {
        let (namespace, name) = pod.split_once('/').unwrap_or_default();
        format!("---\n{}\n", pod_manifest(namespace, name, node))
    };
    PODS.iter().map(pod).collect()
}

/// A pod that does nothing; its sockets are ours.
fn pod_manifest(namespace: &str, name: &str, node: &str) -> String {
    let mut ports = Vec::new();
    for port in PORTS {
        for protocol in Protocol::ALL {
            let protocol = protocol.name();
            let lower = protocol.to_lowercase();
            ports.push(format!(
                "{{name: serve-{port}-{lower}, containerPort: {port}, protocol: {protocol}}}"
            ));
        }
    }
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: '{name}', namespace: '{namespace}', labels: {{pod: {name}}}}}, spec: {{nodeName: {node}, \
         terminationGracePeriodSeconds: 0, containers: [{{name: idle, image: 'lab.local/pause:1', imagePullPolicy: Never, ports: [{}]}}]}}}}",
        ports.join(", ")
    )
}
