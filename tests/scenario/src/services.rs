//! Services: kube-proxy, CoreDNS and portmap do the work, Margay must not stand in the way, and policy must see what is behind.
//!
//! [`prove`] is the demo's short part on any lab; [`whole`] is everything, on a dual-stack lab whose n3 is in another rack than n1. No check knows which mode kube-proxy runs in.

mod choice;
mod load;
mod moving;
mod policy;
mod reach;
mod stage;

use crate::{
    cluster::{Cluster, family},
    http::{get, opens, source_seen},
    report::Report,
};
use anyhow::{Context, Result, ensure};
use margay_lab::{Seen, wait_until};
use stage::Stage;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let service = lab.kubectl_json(&["get", "service", "-n", "demo", "c", "-o", "json"])?;
    let addresses: Vec<IpAddr> = service["spec"]["clusterIPs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str()?.parse().ok())
        .collect();
    for v4 in cluster.families() {
        let address = *addresses
            .iter()
            .find(|a| a.is_ipv4() == v4)
            .context("the service lacks a family")?;
        for from in ["a1", "c"] {
            let back = if from == "c" { ", itself" } else { "" };
            report.check(
                &format!(
                    "{} pod {from} to service c by ClusterIP {address}{back}",
                    family(v4)
                ),
                || {
                    let to = SocketAddr::new(address, 80);
                    let place = cluster.app(from).place();
                    // This may be the first check after the apps started.
                    let host = wait_until("kube-proxy", Duration::from_secs(10), || {
                        get(lab, &place, to, "/hostname", Duration::from_secs(3)).map(Seen::Holds)
                    })?;
                    ensure!(host == "c", "`{host}` answered");
                    Ok("pod c answered".to_owned())
                },
            );
        }
    }
    report.check("pod a1 to c.demo.svc.cluster.local by name", || {
        lab.pod_exec(
            "demo",
            "a1",
            &[
                "/agnhost",
                "connect",
                "--timeout=5s",
                "c.demo.svc.cluster.local:80",
            ],
        )?;
        Ok("resolved by CoreDNS and connected".to_owned())
    });
    node_ports(cluster, report);
    lab.kubectl(&[
        "delete",
        "service",
        "-n",
        "demo",
        ENTRY,
        "--ignore-not-found",
    ])?;
    Ok(())
}

/// The short part's Service for the outside host.
const ENTRY: &str = "entry";
const ENTRY_PORT: u16 = 30099;

/// A NodePort that keeps the client's address, as the outside host sees it.
fn node_ports(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    let applied = report.check("a NodePort with externalTrafficPolicy Local for c", || {
        lab.apply(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {ENTRY}, namespace: demo}}
spec: {{type: NodePort, externalTrafficPolicy: Local, ipFamilyPolicy: PreferDualStack, selector: {{app: c}}, ports: [{{port: 80, targetPort: 8080, nodePort: {ENTRY_PORT}}}]}}
"
        ))?;
        Ok(format!("port {ENTRY_PORT}"))
    });
    if !applied {
        return;
    }
    for v4 in cluster.families() {
        let node = |name: &str| -> Result<SocketAddr> {
            let node = lab.plan().node(name).context("there is no such node")?;
            let mut own = node.fabric.iter();
            let own = own.find(|a| a.is_ipv4() == v4).context("no such family")?;
            Ok(SocketAddr::new(own, ENTRY_PORT))
        };
        let own = &cluster.app("c").node;
        report.check(
            &format!("{} outside host to c by the NodePort of {own}", family(v4)),
            || {
                let to = node(own)?;
                let seen = wait_until("kube-proxy", Duration::from_secs(10), || {
                    source_seen(lab, "outside", to).map(Seen::Holds)
                })?;
                let outside = lab.plan().outside();
                ensure!(outside.iter().any(|a| a == seen), "c saw {seen}");
                Ok(format!("c saw the client's own {seen}"))
            },
        );
        report.check(
            &format!("{} the same by n1, which has no such pod", family(v4)),
            || {
                ensure!(!opens(lab, "outside", node("n1")?), "it was answered");
                Ok("dropped".to_owned())
            },
        );
    }
}

/// All that Services do, with pods and Services of its own.
pub(crate) fn whole(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let result = acts(cluster, report);
    // Whatever failed, the next scenario finds the cluster as it was.
    let struck = Stage::strike(cluster);
    result.and(struck)?;
    reach::host_port_is_gone(cluster, report);
    Ok(())
}

fn acts(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let stage = Stage::set(cluster)?;
    reach::prove(&stage, report);
    reach::balancer(&stage, report)?;
    choice::prove(&stage, report);
    policy::prove(&stage, report);
    load::prove(&stage, report)?;
    // The last, because it deletes one of the pods.
    moving::prove(&stage, report);
    Ok(())
}
