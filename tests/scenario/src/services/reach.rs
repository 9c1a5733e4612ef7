//! Who reaches what is behind a Service or a host port, and with which source address the pod sees it.

use super::stage::{BALANCER, HOST_PORT, Stage, To};
use crate::{
    cluster::{Cluster, family},
    report::Report,
};
use anyhow::{Context, Result, bail, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// What the pod should see as the source.
#[derive(Clone, Copy, Debug)]
enum Sees {
    /// The client's own address.
    Client,
    /// The address of this node, by which Kubernetes knows it.
    Node(&'static str),
    /// Some address of this node. Masquerading to a pod of the node itself, the kernel takes the first address that it has,
    /// because a pod's link has none.
    OnNode(&'static str),
}

/// From whom, where to, who answers, and what that pod sees.
type Path = (&'static str, To, &'static str, Sees);

const PATHS: &[(&str, &[Path])] = &[
    (
        "ClusterIP",
        &[
            ("a1", To::Service("one", 80), "x1", Sees::Client),
            ("b", To::Service("one", 80), "x1", Sees::Client),
            ("c", To::Service("one", 80), "x1", Sees::Client),
            ("n1", To::Service("one", 80), "x1", Sees::OnNode("n1")),
            ("n3", To::Service("one", 80), "x1", Sees::Node("n3")),
            ("b", To::Service("one", 8080), "x1", Sees::Client),
        ],
    ),
    (
        "hairpin by ClusterIP",
        &[("x1", To::Service("one", 80), "x1", Sees::OnNode("n1"))],
    ),
    (
        "NodePort, externalTrafficPolicy Cluster",
        &[
            ("outside", To::Node("n1", 30080), "x1", Sees::OnNode("n1")),
            ("outside", To::Node("n2", 30080), "x1", Sees::Node("n2")),
            ("outside", To::Node("n3", 30080), "x1", Sees::Node("n3")),
            ("n2", To::Node("n1", 30080), "x1", Sees::OnNode("n1")),
            ("n2", To::Node("n2", 30080), "x1", Sees::Node("n2")),
            ("n2", To::Node("n3", 30080), "x1", Sees::Node("n3")),
            ("b", To::Node("n3", 30080), "x1", Sees::Node("n3")),
            ("a1", To::Node("n1", 30080), "x1", Sees::OnNode("n1")),
            ("x1", To::Node("n1", 30080), "x1", Sees::OnNode("n1")),
        ],
    ),
    (
        "NodePort, externalTrafficPolicy Local",
        &[
            ("outside", To::Node("n1", 30082), "x1", Sees::Client),
            ("outside", To::Node("n3", 30082), "x3", Sees::Client),
        ],
    ),
    (
        "host port",
        &[
            ("outside", To::Node("n1", HOST_PORT), "x1", Sees::Client),
            ("n2", To::Node("n1", HOST_PORT), "x1", Sees::Client),
            ("n1", To::Node("n1", HOST_PORT), "x1", Sees::Client),
            ("b", To::Node("n1", HOST_PORT), "x1", Sees::Client),
            ("a1", To::Node("n1", HOST_PORT), "x1", Sees::Client),
            ("x1", To::Node("n1", HOST_PORT), "x1", Sees::OnNode("n1")),
        ],
    ),
    (
        "one family",
        &[("b", To::Service("prefers", 80), "x3", Sees::Client)],
    ),
];

pub(super) fn prove(stage: &Stage<'_>, report: &mut Report) {
    for (what, paths) in PATHS {
        for v4 in stage.families() {
            follow(stage, report, what, paths, v4);
        }
    }
    let loopback = ("n1", To::Loopback(HOST_PORT), "x1", Sees::OnNode("n1"));
    follow(stage, report, "host port by 127.0.0.1", &[loopback], true);
    for v4 in stage.families() {
        datagrams(stage, report, v4);
        closed(stage, report, v4);
    }
    families(stage, report);
}

fn follow(stage: &Stage<'_>, report: &mut Report, what: &str, paths: &[Path], v4: bool) {
    report.check(&format!("{} {what}", family(v4)), || {
        let mut all = Vec::new();
        for path in paths {
            let (from, to, pod, _) = path;
            let seen = answered(stage, path, v4).with_context(|| format!("{from} to {to}"))?;
            all.push(format!("{from} to {to}: {pod} saw {seen}"));
        }
        Ok(all.join("; "))
    });
}

/// The right pod answers, and saw this.
fn answered(stage: &Stage<'_>, path: &Path, v4: bool) -> Result<IpAddr> {
    let (from, to, pod, sees) = *path;
    let name = stage.get(from, to, v4, "/hostname")?;
    ensure!(name == pod, "`{name}` answered, not {pod}");
    let seen = stage.get(from, to, v4, "/clientip")?;
    let seen: SocketAddr = seen
        .parse()
        .with_context(|| format!("`{seen}` is no address and port"))?;
    expected(stage, seen.ip(), from, sees, v4)?;
    Ok(seen.ip())
}

fn expected(stage: &Stage<'_>, seen: IpAddr, from: &str, sees: Sees, v4: bool) -> Result<()> {
    let wanted = match sees {
        Sees::Client => stage.address(from, v4)?,
        Sees::Node(node) => stage.address(node, v4)?,
        Sees::OnNode(node) => {
            let all = stage.lab().exec(node, &["ip", "-o", "address"])?;
            let own = all.split_whitespace().any(|word| {
                let address = word.split('/').next().unwrap_or_default();
                address.parse() == Ok(seen)
            });
            ensure!(own, "the pod saw {seen}, which is no address of {node}");
            return Ok(());
        }
    };
    ensure!(seen == wanted, "the pod saw {seen}, not {wanted}");
    Ok(())
}

fn datagrams(stage: &Stage<'_>, report: &mut Report, v4: bool) {
    let ways = [
        ("b", To::Service("one", 81)),
        ("x1", To::Service("one", 81)),
        ("outside", To::Node("n3", 30081)),
        ("outside", To::Node("n1", HOST_PORT)),
        ("n2", To::Node("n1", HOST_PORT)),
        ("x1", To::Node("n1", HOST_PORT)),
    ];
    report.check(&format!("{} UDP by all of these", family(v4)), || {
        for (from, to) in ways {
            let name = stage
                .udp_hostname(from, to, v4)
                .with_context(|| format!("{from} to {to}"))?;
            ensure!(name == "x1", "{from} to {to}: `{name}` answered");
        }
        Ok(format!("{} ways, x1 answered", ways.len()))
    });
}

/// What must not be answered, and a path beside each that shows it is no other fault.
fn closed(stage: &Stage<'_>, report: &mut Report, v4: bool) {
    for (what, from, to, open) in [
        (
            "externalTrafficPolicy Local, a node without endpoint",
            "outside",
            To::Node("n2", 30082),
            false,
        ),
        (
            "the same from a pod of that node",
            "b",
            To::Node("n2", 30082),
            true,
        ),
        (
            "internalTrafficPolicy Local, a node with the endpoint",
            "a1",
            To::Service("inside", 80),
            true,
        ),
        (
            "internalTrafficPolicy Local, that node itself",
            "n1",
            To::Service("inside", 80),
            true,
        ),
        (
            "internalTrafficPolicy Local, a node without",
            "b",
            To::Service("inside", 80),
            false,
        ),
        (
            "internalTrafficPolicy Local, that node itself",
            "n2",
            To::Service("inside", 80),
            false,
        ),
    ] {
        let word = if open { "answered" } else { "not answered" };
        let what = format!("{} {what}: {from} to {to} is {word}", family(v4));
        report.check(&what, || {
            ensure!(stage.is(from, to, v4, open)?, "it is not so");
            Ok("as it should be".to_owned())
        });
    }
}

/// Which families each Service got, and that the one it has works.
fn families(stage: &Stage<'_>, report: &mut Report) {
    for (name, wanted) in [
        ("four", vec![true]),
        ("six", vec![false]),
        // The API server keeps the order asked for.
        ("prefers", vec![false, true]),
        ("twice", vec![true, false]),
    ] {
        report.check(&format!("the addresses of Service {name}"), || {
            let all = stage.service(name);
            let got: Vec<bool> = all.iter().map(IpAddr::is_ipv4).collect();
            ensure!(got == wanted, "it has {all:?}");
            for v4 in wanted {
                stage.get("b", To::Service(name, 80), v4, "/hostname")?;
            }
            Ok(format!("{all:?}, each answered"))
        });
    }
    report.check("a NodePort of IPv6 only", || {
        let name = stage.get("outside", To::Node("n3", 30086), false, "/hostname")?;
        ensure!(name == "x1", "`{name}` answered");
        let v4_is_closed = stage.is("outside", To::Node("n3", 30086), true, false)?;
        ensure!(v4_is_closed, "IPv4 was answered as well");
        Ok("answered by IPv6, not by IPv4".to_owned())
    });
}

/// A load balancer's address in `status`, set by hand as a controller would, and routed to n1 by static routes of spine and ToR.
pub(super) fn balancer(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    let lab = stage.lab();
    let result = route(lab, "add").map(|()| balanced(stage, report));
    let removed = route(lab, "del");
    result.and(removed)
}

fn balanced(stage: &Stage<'_>, report: &mut Report) {
    let set = report.check(
        "a load balancer's addresses in the status of Service local",
        || {
            let [v4, v6] = BALANCER;
            let status = format!(
                r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{v4}"}},{{"ip":"{v6}"}}]}}}}}}"#
            );
            stage.lab().kubectl(&[
                "patch",
                "service",
                "-n",
                "services",
                "local",
                "--subresource=status",
                "--type=merge",
                "-p",
                &status,
            ])?;
            wait_until("kube-proxy on n1", Duration::from_secs(10), || {
                for v4 in stage.families() {
                    stage.get("a1", To::Balancer(80), v4, "/hostname")?;
                }
                Ok(Seen::Holds(()))
            })?;
            Ok(BALANCER.join(", "))
        },
    );
    if !set {
        return;
    }
    let what = "load balancer, externalTrafficPolicy Local";
    let path = ("outside", To::Balancer(80), "x1", Sees::Client);
    for v4 in stage.families() {
        follow(stage, report, what, &[path], v4);
    }
}

fn route(lab: &Lab, verb: &str) -> Result<()> {
    let plan = lab.plan();
    let (Some(rack), Some(node)) = (plan.rack(1), plan.node("n1")) else {
        bail!("the lab has no rack 1 or no n1");
    };
    for (place, gateways) in [
        ("spine".to_owned(), rack.uplink),
        (rack.tor_place(), node.fabric),
    ] {
        for gateway in gateways.iter() {
            let to = BALANCER[usize::from(gateway.is_ipv6())];
            let gateway = gateway.to_string();
            lab.exec(&place, &["ip", "route", verb, to, "via", &gateway])?;
        }
    }
    Ok(())
}

/// portmap has removed what it wrote for the pod.
pub(super) fn host_port_is_gone(cluster: &Cluster, report: &mut Report) {
    report.check("the rules of the host port are gone with the pod", || {
        let port = HOST_PORT.to_string();
        for tool in ["iptables-save", "ip6tables-save"] {
            let rules = cluster.lab.exec("n1", &[tool, "-t", "nat"])?;
            let left: Vec<&str> = rules.lines().filter(|l| l.contains(&port)).collect();
            ensure!(left.is_empty(), "{tool}: {}", left.join("; "));
        }
        Ok(format!("no rule of n1 names {HOST_PORT}"))
    });
}
