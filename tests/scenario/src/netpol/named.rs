//! Named ports are a matter of the destination pod; and what the API server must refuse.

use super::{
    arena::Arena,
    paths::{Extra, Path},
};
use crate::{api::Body, cluster::FAMILIES, matrix::Protocol, report::Report};
use anyhow::{Result, bail, ensure};
use std::time::Instant;

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    refused(arena, report);
    protobuf(arena, report);
    let made = arena.extra(&pods(), &PORTS);
    if let Err(error) = made {
        report.fail("[72] pods with named ports", &error);
    } else {
        named(arena, report);
    }
    arena.remove_extras()
}

const PORTS: [u16; 3] = [8001, 8002, 8003];

fn web(name: &'static str, containers: &'static str, more: &'static str) -> Extra<'static> {
    Extra {
        namespace: "x",
        name,
        node: if name == "web2" { "n2" } else { "n1" },
        labels: "role: web",
        containers,
        more,
        served: true,
    }
}

const FIRST: &str = "[{name: idle, image: 'lab.local/pause:1', imagePullPolicy: Never, ports: [{name: web, containerPort: 8001}]}]";
const SECOND: &str = "[{name: idle, image: 'lab.local/pause:1', imagePullPolicy: Never, ports: [{name: web, containerPort: 8002}, {name: web-udp, containerPort: 8002, protocol: UDP}]}]";
const SIDECAR: &str = "initContainers: [{name: side, image: 'lab.local/pause:1', imagePullPolicy: Never, restartPolicy: Always, ports: [{name: web, containerPort: 8003}]}]";

fn pods() -> [Extra<'static>; 3] {
    [
        web("web1", FIRST, ""),
        web("web2", SECOND, ""),
        web("web3", super::paths::IDLE, SIDECAR),
    ]
}

/// Paths to these ports of the three pods: whether it is the one that bears the name, of TCP.
fn paths(arena: &Arena<'_>, from: &str, named: [u16; 3]) -> Result<Vec<Path>> {
    let mut paths = Vec::new();
    for v4 in FAMILIES {
        for (pod, bears) in ["x/web1", "x/web2", "x/web3"].into_iter().zip(named) {
            for port in PORTS {
                let to = arena.at(pod, port, v4)?;
                let tcp = Path::closed(from, to, Protocol::Tcp);
                paths.push(if port == bears {
                    tcp.lands(pod, port)
                } else {
                    tcp
                });
                paths.push(Path::closed(from, to, Protocol::Udp));
            }
        }
    }
    Ok(paths)
}

fn named(arena: &mut Arena<'_>, report: &mut Report) {
    let ingress = (
        "x".to_owned(),
        "{podSelector: {matchLabels: {role: web}}, ingress: [{ports: [{port: web}]}]}".to_owned(),
    );
    let egress = ("z".to_owned(), "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: x}}}], ports: [{port: web}]}]}".to_owned());
    for (what, from, policy) in [
        (
            "[72] ingress: one name, a number of its own in each pod, also a sidecar's",
            "y/a",
            ingress,
        ),
        (
            "[72] egress: the same, and the protocol must be the name's",
            "z/b",
            egress.clone(),
        ),
    ] {
        report.check(what, || {
            let begin = Instant::now();
            arena.set(&[policy])?;
            let paths = paths(arena, from, PORTS)?;
            arena.follow(begin, &paths)
        });
    }
    report.check(
        "[72] a pod made anew serves the name on another number",
        || remade(arena, egress),
    );
}

fn remade(arena: &mut Arena<'_>, policy: super::arena::Policy) -> Result<String> {
    arena.remove_extras()?;
    let [first, mut second, third] = pods();
    second.containers = FIRST;
    arena.extra(&[first, second, third], &PORTS)?;
    let begin = Instant::now();
    arena.set(&[policy])?;
    let paths = paths(arena, "z/b", [8001, 8001, 8003])?;
    arena.follow(begin, &paths)
}

/// What the API server must not let in.
fn refused(arena: &Arena<'_>, report: &mut Report) {
    let path = "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies/refused";
    for (what, field, ports) in [
        (
            "[73] a named port with endPort is refused",
            "endPort",
            "{port: serve-80-tcp, endPort: 90}",
        ),
        (
            "[73] an endPort below port is refused",
            "endPort",
            "{port: 80, endPort: 79}",
        ),
    ] {
        report.check(what, || {
            let manifest = format!("{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: refused}}, spec: {{podSelector: {{}}, ingress: [{{ports: [{ports}]}}]}}}}");
            let Err(error) = arena.api.apply(path, &manifest) else {
                arena.api.delete(path)?;
                bail!("it was accepted")
            };
            ensure!(format!("{error:#}").contains(field), "{error:#}");
            Ok(format!("by the API server, which names {field}"))
        });
    }
}

/// The same default-deny as protobuf, where a missing list and an empty one are the same bytes.
fn protobuf(arena: &mut Arena<'_>, report: &mut Report) {
    let policies = "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies";
    report.check(
        "[67] a policy without ingress that was written as protobuf denies",
        || {
            let begin = Instant::now();
            arena.set(&[])?;
            let body = encoded();
            arena.api.call("POST", policies, Body::Protobuf(&body))?;
            let held = arena.holds(begin, Some(&|a| !a.receiver_in("x")));
            arena.api.delete(&format!("{policies}/as-protobuf"))?;
            held
        },
    );
}

/// `runtime.Unknown` around a NetworkPolicy `as-protobuf` with an empty podSelector and policyTypes Ingress.
fn encoded() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("the policy is short");
        [&[number << 3 | 2, length], bytes].concat()
    };
    let kind = [
        field(1, b"networking.k8s.io/v1"),
        field(2, b"NetworkPolicy"),
    ]
    .concat();
    let spec = [field(1, b""), field(4, b"Ingress")].concat();
    let policy = [field(1, &field(1, b"as-protobuf")), field(2, &spec)].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &policy)].concat()
}
