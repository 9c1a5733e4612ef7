//! Policies see what is behind a Service: the backend's address and port, and the client as far as kube-proxy lets it.

mod hairpin;

use super::{arena::Arena, paths::Path, updates::one};
use crate::{cluster::FAMILIES, matrix::Protocol, report::Report};
use anyhow::Result;
use serde_json::Value;
use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    let proven = steps(arena, report);
    for (name, ..) in SERVICES {
        arena.api.delete(&service(name))?;
    }
    proven
}

/// Names, types, external traffic policies and selected pods of x.
const SERVICES: [(&str, &str, &str, &str); 4] = [
    ("inner", "ClusterIP", "", "{pod: c}"),
    (
        "local",
        "LoadBalancer",
        "externalTrafficPolicy: Local, ",
        "{pod: c}",
    ),
    ("spread", "NodePort", "", "{pod: c}"),
    ("two", "ClusterIP", "", "{role: two}"),
];
/// What the load balancer's services get; nobody routes it, pods and nodes meet it in their own node's kube-proxy.
const BALANCED: [&str; 2] = ["198.51.100.77", "2001:db8:51::77"];
const PORT: u16 = 8000;
const TARGET: u16 = 81;

fn service(name: &str) -> String {
    format!("/api/v1/namespaces/x/services/{name}")
}

fn steps(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    arena.set(&[])?;
    for (name, kind, more, selector) in SERVICES {
        let ports = Protocol::ALL.map(|protocol| {
            let protocol = protocol.name();
            format!(
                "{{name: {}, port: {PORT}, targetPort: {TARGET}, protocol: {protocol}}}",
                protocol.to_lowercase()
            )
        });
        let manifest = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{type: {kind}, {more}ipFamilyPolicy: RequireDualStack, selector: {selector}, ports: [{}]}}}}",
            ports.join(", ")
        );
        arena.api.apply(&service(name), &manifest)?;
    }
    let ingress = BALANCED
        .map(|ip| format!("{{\"ip\": \"{ip}\"}}"))
        .join(", ");
    let status = format!("{{\"status\": {{\"loadBalancer\": {{\"ingress\": [{ingress}]}}}}}}");
    arena
        .api
        .merge(&format!("{}/status", service("local")), &status)?;
    let reach = Reach::read(arena)?;
    behind(arena, report, &reach);
    clients(arena, report, &reach);
    hairpin::prove(arena, report, &reach)
}

/// The addresses and node ports of the services.
struct Reach {
    inner: Vec<IpAddr>,
    two: Vec<IpAddr>,
    local: Vec<(Protocol, u16)>,
    spread: Vec<(Protocol, u16)>,
}

impl Reach {
    fn read(arena: &Arena<'_>) -> Result<Self> {
        let get = |name: &str| arena.api.get(&service(name));
        let addresses = |object: &Value| -> Vec<IpAddr> {
            let all = object["spec"]["clusterIPs"]
                .as_array()
                .into_iter()
                .flatten();
            all.filter_map(|ip| ip.as_str()?.parse().ok()).collect()
        };
        let ports = |object: &Value| -> Vec<(Protocol, u16)> {
            let all = object["spec"]["ports"].as_array().into_iter().flatten();
            all.filter_map(|port| {
                let number = u16::try_from(port["nodePort"].as_u64()?).ok()?;
                let named = |protocol: &Protocol| port["protocol"] == protocol.name();
                Some((Protocol::ALL.into_iter().find(named)?, number))
            })
            .collect()
        };
        Ok(Self {
            inner: addresses(&get("inner")?),
            two: addresses(&get("two")?),
            local: ports(&get("local")?),
            spread: ports(&get("spread")?),
        })
    }

    /// Every protocol to each family's address of a service.
    fn all(addresses: &[IpAddr], from: &str) -> Vec<Path> {
        let to = addresses.iter().map(|ip| SocketAddr::new(*ip, PORT));
        to.flat_map(|to| Protocol::ALL.map(|protocol| Path::closed(from, to, protocol)))
            .collect()
    }
}

fn land(paths: Vec<Path>) -> Vec<Path> {
    let landing = |path: Path| path.lands("x/c", TARGET);
    paths.into_iter().map(landing).collect()
}

/// Peers that are these addresses.
fn blocks(addresses: &[IpAddr]) -> String {
    let block = |ip: &IpAddr| {
        let length = if ip.is_ipv4() { 32 } else { 128 };
        format!("{{ipBlock: {{cidr: '{ip}/{length}'}}}}")
    };
    addresses.iter().map(block).collect::<Vec<_>>().join(", ")
}

/// This port of every protocol.
fn ports(number: u16) -> String {
    let port = |protocol: Protocol| format!("{{protocol: {}, port: {number}}}", protocol.name());
    Protocol::ALL.map(port).join(", ")
}

/// [78]: a rule names the backend, not the service.
fn behind(arena: &mut Arena<'_>, report: &mut Report, reach: &Reach) {
    let balanced: Vec<IpAddr> = BALANCED.iter().filter_map(|ip| ip.parse().ok()).collect();
    let from_y = [
        Reach::all(&reach.inner, "y/a"),
        Reach::all(&balanced, "y/a"),
    ]
    .concat();
    let from_z = Reach::all(&reach.inner, "z/c");
    let ingress = |port: u16| {
        one(
            "x",
            &format!(
                "{{podSelector: {{matchLabels: {{pod: c}}}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{ns: 'y'}}}}}}], ports: [{}]}}]}}",
                ports(port)
            ),
        )
    };
    let egress = |peers: &str, port: u16| {
        one(
            "y",
            &format!(
                "{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Egress], egress: [{{to: [{peers}], ports: [{}]}}]}}",
                ports(port)
            ),
        )
    };
    let virtual_ip = blocks(&[reach.inner.clone(), balanced].concat());
    let cases = [
        (
            "[78] ClusterIP and load balancer address, no policy",
            Vec::new(),
            land(from_y.clone()),
            land(from_z.clone()),
        ),
        (
            "[78] ingress to the backend's port: open through the Service for whom it names",
            ingress(TARGET),
            land(from_y.clone()),
            from_z.clone(),
        ),
        (
            "[78] ingress to the Service's port: opens nothing",
            ingress(PORT),
            from_y.clone(),
            from_z.clone(),
        ),
        (
            "[78] egress to the Service's addresses: opens nothing",
            egress(&virtual_ip, PORT),
            from_y.clone(),
            land(from_z.clone()),
        ),
        (
            "[78] egress to the backend's address and port: open",
            egress(
                "{ipBlock: {cidr: '@x/c:v4/32'}}, {ipBlock: {cidr: '@x/c:v6/128'}}",
                TARGET,
            ),
            land(from_y),
            land(from_z),
        ),
    ];
    for (what, policies, one, other) in cases {
        report.check(what, || {
            let begin = Instant::now();
            arena.set(&policies)?;
            arena.follow(begin, &[one, other].concat())
        });
    }
}

/// [78] and [77]: node ports, and whom the policy sees.
fn clients(arena: &mut Arena<'_>, report: &mut Report, reach: &Reach) {
    let outside = one(
        "x",
        "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{ipBlock: {cidr: '@outside:v4/32'}}, {ipBlock: {cidr: '@outside:v6/128'}}]}]}",
    );
    let node = one(
        "x",
        "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{ipBlock: {cidr: '@n1:v4/32'}}, {ipBlock: {cidr: '@n1:v6/128'}}]}]}",
    );
    let through = |arena: &Arena<'_>,
                   from: &str,
                   node: &str,
                   ports: &[(Protocol, u16)],
                   seen: Option<&str>|
     -> Result<Vec<Path>> {
        let mut paths = Vec::new();
        for v4 in FAMILIES {
            for (protocol, port) in ports {
                let path = Path::closed(from, arena.at(node, *port, v4)?, *protocol);
                paths.push(match seen {
                    Some(seen) => path.lands_from("x/c", TARGET, arena.address(seen, v4)?),
                    None => path,
                });
            }
        }
        Ok(paths)
    };
    report.check(
        "[78] NodePort, externalTrafficPolicy Local: the policy sees the client",
        || {
            let begin = Instant::now();
            arena.set(&outside)?;
            let paths = through(arena, "outside", "n3", &reach.local, Some("outside"))?;
            arena.follow(begin, &paths)
        },
    );
    report.check(
        "[78] NodePort, Cluster, through another node: the policy does not see the client",
        || {
            let begin = Instant::now();
            let paths = through(arena, "outside", "n1", &reach.spread, None)?;
            arena.follow(begin, &paths)
        },
    );
    report.check("[78] but the node, as does the pod", || {
        let begin = Instant::now();
        arena.set(&node)?;
        let paths = through(arena, "outside", "n1", &reach.spread, Some("n1"))?;
        arena.follow(begin, &paths)
    });
    report.check("[77] a pod reaches the node port of its own node", || {
        let begin = Instant::now();
        arena.set(&[])?;
        let mut paths = Vec::new();
        for v4 in FAMILIES {
            for (protocol, port) in &reach.spread {
                let path = Path::closed("x/a", arena.at("n1", *port, v4)?, *protocol);
                paths.push(path.lands("x/c", TARGET));
            }
        }
        arena.follow(begin, &paths)
    });
    report.check(
        "[77] but not under default-deny egress, nor the node itself",
        || {
            let begin = Instant::now();
            arena.set(&one(
                "x",
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}",
            ))?;
            let mut paths = through(arena, "x/a", "n1", &reach.spread, None)?;
            for v4 in FAMILIES {
                let own = arena.at("n1", 80, v4)?;
                paths.extend(Protocol::ALL.map(|protocol| Path::closed("x/a", own, protocol)));
            }
            arena.follow(begin, &paths)
        },
    );
}
