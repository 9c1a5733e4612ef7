//! Nodes: their own pods, other nodes' pods, pods on the node's network, the kubelet's probes.

use super::{
    arena::Arena,
    paths::{Extra, IDLE, Path},
    updates::one,
};
use crate::{cluster::FAMILIES, matrix::Protocol, report::Report};
use anyhow::{Context, Result, bail, ensure};
use margay_lab::{Seen, wait_until};
use serde_json::Value;
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    host_network(arena, report);
    arena.remove_extras()?;
    nodes(arena, report);
    probes(arena, report);
    arena.remove_extras()?;
    neighbours(arena, report);
    Ok(())
}

/// [74]: a pod on the network of n2.
fn host_network(arena: &mut Arena<'_>, report: &mut Report) {
    let host = Extra {
        namespace: "x",
        name: "host",
        node: "n2",
        labels: "pod: host",
        containers: IDLE,
        more: "hostNetwork: true",
        served: false,
    };
    let made = report.check("[74] a hostNetwork pod runs on n2", || {
        arena.extra(&[host], &[])?;
        let addresses = arena.running_pod(&host.path())?;
        ensure!(
            addresses.contains(&arena.address("n2", true)?),
            "it has {addresses:?}"
        );
        Ok(format!("{addresses:?}"))
    });
    if !made {
        return;
    }
    let all = one("x", "{podSelector: {}, policyTypes: [Ingress, Egress]}");
    arena.case(
        report,
        "[74] it is no subject: its namespace is closed, the node is not",
        &all,
        Some(&|a| !a.receiver_in("x") && !a.sender_in("x")),
    );
    let by_selector = one(
        "y",
        "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: host}}}]}]}",
    );
    arena.case(
        report,
        "[74] it is no peer of a podSelector",
        &by_selector,
        Some(&|a| !a.to("y/b")),
    );
    let by_block = one(
        "y",
        "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{ipBlock: {cidr: '@n2:v4/32'}}, {ipBlock: {cidr: '@n2:v6/128'}}]}]}",
    );
    arena.case(
        report,
        "[74] by the node's address in an ipBlock it is",
        &by_block,
        Some(&|a| !a.to("y/b") || a.from("n2")),
    );
    let egress = one(
        "y",
        "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}",
    );
    arena.case(
        report,
        "[74] [77] a pod on n2 that may reach all pods reaches neither its node nor the pod on its network",
        &egress,
        Some(&|a| !a.from("y/a") || a.at_pod()),
    );
}

/// [76]: the node of a pod is exempt (every table of truth here counts on it), another node is not.
fn nodes(arena: &mut Arena<'_>, report: &mut Report) {
    report.check(
        "[76] under default-deny a node reaches its own pods, and no pod of other nodes",
        || {
            let begin = Instant::now();
            arena.set(&one("x", "{podSelector: {}, policyTypes: [Ingress]}"))?;
            let mut paths = Vec::new();
            for v4 in FAMILIES {
                for (pod, home) in [("x/a", "n1"), ("x/b", "n2"), ("x/c", "n3")] {
                    for node in ["n1", "n2", "n3"] {
                        let to = arena.at(pod, 80, v4)?;
                        paths.extend(Protocol::ALL.map(|protocol| {
                            let path = Path::closed(node, to, protocol);
                            if node == home {
                                path.lands(pod, 80)
                            } else {
                                path
                            }
                        }));
                    }
                }
            }
            arena.follow(begin, &paths)
        },
    );
}

const WEB: &str = "[{name: web, image: 'lab.local/agnhost:2.56', imagePullPolicy: Never, args: [netexec, --http-port=8080], readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 1}}]";

/// [75]: the kubelet's own probes. It probes a pod's first address; the IPv6 address is probed for another pod of the node.
fn probes(arena: &mut Arena<'_>, report: &mut Report) {
    report.check(
        "[75] the kubelet's HTTP probe of a pod under default-deny, IPv4",
        || {
            arena.set(&one(
                "x",
                "{podSelector: {}, policyTypes: [Ingress, Egress]}",
            ))?;
            let web = pod("probed", "n1", WEB);
            arena.extra(&[web], &[])?;
            ready(arena, &web.path())
        },
    );
    let found = arena.api.get("/api/v1/namespaces/x/pods/probed");
    let v6 = found.map(|pod| {
        super::pods::addresses(&pod)
            .into_iter()
            .find(IpAddr::is_ipv6)
    });
    let Ok(Some(v6)) = v6 else {
        report.fail(
            "[75] IPv6",
            &anyhow::anyhow!("the probed pod has no IPv6 address"),
        );
        return;
    };
    let http = format!(
        "[{{name: idle, image: 'lab.local/pause:1', imagePullPolicy: Never, readinessProbe: {{httpGet: {{host: '{v6}', path: /healthz, port: 8080}}, periodSeconds: 1, timeoutSeconds: 1}}}}]"
    );
    let tcp = http
        .replace("httpGet", "tcpSocket")
        .replace("path: /healthz, ", "");
    let v4_tcp = tcp.replace(&format!("host: '{v6}', "), "");
    report.check(
        "[75] its HTTP and TCP probes of that pod's IPv6 address",
        || {
            let both = [pod("http6", "n1", &http), pod("tcp6", "n1", &tcp)];
            arena.extra(&both, &[])?;
            for one in both {
                ready(arena, &one.path())?;
            }
            Ok("both Ready".to_owned())
        },
    );
    report.check("[75] its TCP probe, IPv4", || {
        let both = v4_tcp.replace(
            "name: idle, image: 'lab.local/pause:1'",
            "name: web, image: 'lab.local/agnhost:2.56', args: [netexec, --http-port=8080]",
        );
        let one = pod("tcp4", "n1", &both);
        arena.extra(&[one], &[])?;
        ready(arena, &one.path())
    });
    report.check("[76] the kubelet of another node is refused", || {
        let far = pod("far6", "n2", &http);
        arena.extra(&[far], &[])?;
        unhealthy(arena, "far6")
    });
}

fn pod<'e>(name: &'e str, node: &'e str, containers: &'e str) -> Extra<'e> {
    Extra {
        namespace: "x",
        name,
        node,
        labels: "role: probed",
        containers,
        more: "",
        served: false,
    }
}

fn ready(arena: &Arena<'_>, path: &str) -> Result<String> {
    wait_until(&format!("{path} is Ready"), Duration::from_secs(15), || {
        let pod = arena.api.get(path)?;
        Ok(if is_ready(&pod) {
            Seen::Holds("Ready".to_owned())
        } else {
            Seen::NotYet(pod["status"]["conditions"].to_string())
        })
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

/// The kubelet has probed in vain, and says so.
fn unhealthy(arena: &Arena<'_>, name: &str) -> Result<String> {
    let events = format!(
        "/api/v1/namespaces/x/events?fieldSelector=reason=Unhealthy,involvedObject.name={name}"
    );
    let said = wait_until("an Unhealthy event", Duration::from_secs(15), || {
        let list = arena.api.get(&events)?;
        Ok(match list["items"][0]["message"].as_str() {
            Some(message) => Seen::Holds(message.to_owned()),
            None => Seen::NotYet(list["items"].to_string()),
        })
    })?;
    let pod = arena
        .api
        .get(&format!("/api/v1/namespaces/x/pods/{name}"))?;
    if is_ready(&pod) {
        bail!("it is Ready after all");
    }
    Ok(said)
}

/// [77] [85]: under default-deny both ways a pod that has lost its neighbour entry finds its gateway again.
fn neighbours(arena: &mut Arena<'_>, report: &mut Report) {
    report.check(
        "[77] [85] neighbour discovery works under default-deny",
        || {
            let begin = Instant::now();
            arena.set(&one(
                "x",
                "{podSelector: {}, policyTypes: [Ingress, Egress]}",
            ))?;
            let closed = Path::closed("x/a", arena.at("y/a", 80, false)?, Protocol::Udp);
            arena.follow(begin, std::slice::from_ref(&closed))?;
            let before = neigh(arena, "show fe80::1 dev eth0")?;
            let mac = before
                .split_whitespace()
                .skip_while(|word| *word != "lladdr")
                .nth(1);
            let mac = mac
                .with_context(|| format!("no MAC in {before:?}"))?
                .to_owned();
            neigh(arena, "del fe80::1 dev eth0")?;
            arena.follow(Instant::now(), &[closed])?;
            let seen = wait_until("the gateway is found", Duration::from_secs(5), || {
                let entry = neigh(arena, "show fe80::1 dev eth0")?;
                Ok(if entry.contains(&mac) {
                    Seen::Holds(entry)
                } else {
                    Seen::NotYet(entry)
                })
            });
            neigh(
                arena,
                &format!("replace fe80::1 lladdr {mac} dev eth0 nud permanent"),
            )?;
            seen
        },
    );
}

/// `ip -6 neigh` in x/a.
fn neigh(arena: &Arena<'_>, arguments: &str) -> Result<String> {
    let argv: Vec<&str> = "ip -6 neigh"
        .split(' ')
        .chain(arguments.split(' '))
        .collect();
    let output = arena.run("x/a", &argv)?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(
        output.status.success(),
        "ip -6 neigh {arguments}: {}",
        said(&output.stderr)
    );
    Ok(said(&output.stdout))
}
