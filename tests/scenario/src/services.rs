//! Services by ClusterIP, and names by CoreDNS pods.

use crate::{
    cluster::{Cluster, family},
    http::get,
    report::Report,
};
use anyhow::{Context, Result, ensure};
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
        report.check(
            &format!("{} pod a1 to service c by ClusterIP {address}", family(v4)),
            || {
                let host = get(
                    lab,
                    "pod:demo/a1",
                    SocketAddr::new(address, 80),
                    "/hostname",
                    Duration::from_secs(3),
                )?;
                ensure!(host == "c", "`{host}` answered");
                Ok("pod c answered".to_owned())
            },
        );
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
    Ok(())
}
