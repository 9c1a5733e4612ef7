//! Who reaches whom, and with which source address: nothing translates between pods, nodes and the fabric.

use crate::{
    cluster::{App, Cluster, family},
    http::{inside, source_seen},
    report::Report,
};
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, SocketAddr};

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let (a1, a2, b, c) = (
        cluster.app("a1"),
        cluster.app("a2"),
        cluster.app("b"),
        cluster.app("c"),
    );
    for v4 in cluster.families() {
        pods(cluster, report, "on one node", (a1, a2), v4);
        pods(cluster, report, "in one rack", (a1, b), v4);
        pods(cluster, report, "across racks", (a1, c), v4);
        pods(cluster, report, "across racks, back", (c, a1), v4);
        for app in [a1, c] {
            node_to_pod(cluster, report, "n1", app, v4);
            pod_to_node(cluster, report, app, v4);
        }
        outside(cluster, report, a1, v4)?;
        outside(cluster, report, c, v4)?;
    }
    Ok(())
}

fn expect(seen: IpAddr, wanted: IpAddr) -> Result<String> {
    ensure!(
        seen == wanted,
        "the receiver saw {seen}, not {wanted}: something translates"
    );
    Ok(format!("the receiver saw {seen}"))
}

fn pods(cluster: &Cluster, report: &mut Report, how: &str, (from, to): (&App, &App), v4: bool) {
    report.check(
        &format!(
            "{} pod {} ({}) to pod {} ({}), {how}",
            family(v4),
            from.name,
            from.node,
            to.name,
            to.node
        ),
        || {
            expect(
                source_seen(
                    &cluster.lab,
                    &from.place(),
                    SocketAddr::new(to.address(v4)?, 8080),
                )?,
                from.address(v4)?,
            )
        },
    );
}

fn node_address(cluster: &Cluster, node: &str, v4: bool) -> Result<IpAddr> {
    let node = cluster
        .lab
        .plan()
        .node(node)
        .with_context(|| format!("the lab has no node {node}"))?;
    node.fabric
        .iter()
        .find(|a| a.is_ipv4() == v4)
        .context("the lab lacks a family")
}

fn node_to_pod(cluster: &Cluster, report: &mut Report, node: &str, to: &App, v4: bool) {
    report.check(
        &format!(
            "{} node {node} to pod {} on {}",
            family(v4),
            to.name,
            to.node
        ),
        || {
            expect(
                source_seen(&cluster.lab, node, SocketAddr::new(to.address(v4)?, 8080))?,
                node_address(cluster, node, v4)?,
            )
        },
    );
}

fn pod_to_node(cluster: &Cluster, report: &mut Report, from: &App, v4: bool) {
    report.check(
        &format!("{} pod {} to node n1", family(v4), from.name),
        || {
            let node = node_address(cluster, "n1", v4)?.to_string();
            let output = inside(
                &cluster.lab,
                &from.place(),
                &["ping", "-n", "-c", "1", "-W", "2", &node],
            )?;
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "no answer: {}", text.trim());
            Ok(text.lines().nth(1).unwrap_or_default().to_owned())
        },
    );
}

fn outside(cluster: &Cluster, report: &mut Report, app: &App, v4: bool) -> Result<()> {
    let lab = &cluster.lab;
    let host = lab
        .plan()
        .outside()
        .iter()
        .find(|a| a.is_ipv4() == v4)
        .context("the outside host lacks a family")?;
    report.check(
        &format!("{} outside host to pod {}", family(v4), app.name),
        || {
            expect(
                source_seen(lab, "outside", SocketAddr::new(app.address(v4)?, 8080))?,
                host,
            )
        },
    );
    let agnhost = crate::cluster::root()
        .join("target/kubernetes/bin/agnhost")
        .display()
        .to_string();
    let _server = lab.spawn(
        "outside",
        &[&agnhost, "netexec", "--http-port=8888", "--udp-port=8889"],
    )?;
    let to = SocketAddr::new(host, 8888);
    margay_lab::wait_until(
        "the outside host serves",
        std::time::Duration::from_secs(10),
        || {
            crate::http::get(
                lab,
                "outside",
                to,
                "/healthz",
                std::time::Duration::from_secs(1),
            )
            .map(margay_lab::Seen::Holds)
        },
    )?;
    report.check(
        &format!(
            "{} pod {} to the outside host, without NAT",
            family(v4),
            app.name
        ),
        || expect(source_seen(lab, &app.place(), to)?, app.address(v4)?),
    );
    Ok(())
}
