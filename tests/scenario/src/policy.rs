//! NetworkPolicy: a default-deny that cuts, an allow that opens, in milliseconds after the API server took it.

use crate::{
    cluster::{Cluster, family},
    http::opens,
    probe::Probe,
    report::Report,
};
use anyhow::{Result, ensure};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    steps(cluster, report);
    // Whatever failed, the next scenario starts without policies.
    cluster
        .lab
        .kubectl(&["delete", "networkpolicy", "-n", "demo", "--all"])?;
    Ok(())
}

/// A policy, the path that it turns, and paths that must be so afterwards. Paths lead to pod c, but for the last step.
struct Step {
    what: &'static str,
    spec: &'static str,
    turns: Path,
    holds: &'static [Path],
}

/// From where, to which app and port, and whether it opens.
type Path = (&'static str, &'static str, u16, bool);

/// Each replaces the policy before it.
const STEPS: &[Step] = &[
    Step {
        what: "default-deny ingress on c",
        spec: "{podSelector: {matchLabels: {app: c}}, policyTypes: [Ingress]}",
        turns: ("pod:demo/a1", "c", 8080, false),
        holds: &[
            ("pod:demo/b", "c", 8080, false),
            ("outside", "c", 8080, false),
        ],
    },
    Step {
        what: "allow from pods app=a to TCP 8080",
        spec: "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{protocol: TCP, port: 8080}]}]}",
        turns: ("pod:demo/a1", "c", 8080, true),
        holds: &[
            ("pod:demo/b", "c", 8080, false),
            ("pod:demo/a1", "c", 9090, false),
            ("outside", "c", 8080, false),
            ("n1", "c", 8080, false),
        ],
    },
    Step {
        what: "allow from namespaces team=demo",
        spec: "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: demo}}}]}]}",
        turns: ("pod:demo/b", "c", 9090, true),
        holds: &[("outside", "c", 8080, false)],
    },
    Step {
        what: "allow from ipBlocks of the outside host, with except",
        spec: "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.64/26]}}, {ipBlock: {cidr: '2001:db8:113::/64'}}]}]}",
        turns: ("outside", "c", 8080, true),
        holds: &[("pod:demo/a1", "c", 8080, false)],
    },
    Step {
        what: "the outside host is in except now",
        spec: "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/26]}}, {ipBlock: {cidr: '2001:db8:113::/64', except: ['2001:db8:113::/120']}}]}]}",
        turns: ("outside", "c", 8080, false),
        holds: &[],
    },
    Step {
        what: "egress of app=a only to app=b on 8080, c open to all again",
        spec: "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 8080}]}]}",
        turns: ("outside", "c", 8080, true),
        holds: &[
            ("pod:demo/a1", "c", 8080, false),
            ("pod:demo/a1", "b", 8080, true),
            ("pod:demo/a2", "b", 8080, true),
            ("pod:demo/a1", "b", 9090, false),
            ("pod:demo/b", "c", 8080, true),
        ],
    },
];

fn steps(cluster: &Cluster, report: &mut Report) {
    for from in ["pod:demo/a1", "pod:demo/b", "outside"] {
        holds(cluster, report, &(from, "c", 8080, true));
    }
    for (number, step) in STEPS.iter().enumerate() {
        turn(cluster, report, step);
        step.holds
            .iter()
            .for_each(|path| holds(cluster, report, path));
        if number == 0 {
            probes_pass(cluster, report);
        }
    }
}

fn address(cluster: &Cluster, path: &Path, v4: bool) -> Result<SocketAddr> {
    Ok(SocketAddr::new(cluster.app(path.1).address(v4)?, path.2))
}

/// Applies a policy and measures when each family follows. `kubectl` itself takes most of it, so that is shown too.
fn turn(cluster: &Cluster, report: &mut Report, step: &Step) {
    report.check(step.what, || {
        let (from, _, _, open) = step.turns;
        let mut probes = Vec::new();
        for v4 in cluster.families() {
            let to = address(cluster, &step.turns, v4)?;
            probes.push((v4, Probe::start(&cluster.lab, from, to, open)?));
        }
        let begin = Instant::now();
        cluster.lab.apply(&format!("{POLICY}{}\n", step.spec))?;
        let kubectl = begin.elapsed().as_millis();
        let mut seen = Vec::new();
        for (v4, probe) in probes {
            let after = probe.turned()?.saturating_duration_since(begin).as_millis();
            let word = if open { "open" } else { "cut" };
            seen.push(format!("{} {word} after {after} ms", family(v4)));
        }
        Ok(format!(
            "{} (kubectl took {kubectl} ms of it)",
            seen.join(", ")
        ))
    });
}

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: turned, namespace: demo}
spec: ";

fn holds(cluster: &Cluster, report: &mut Report, path: &Path) {
    let (from, to, port, open) = *path;
    let word = if open { "open" } else { "closed" };
    for v4 in cluster.families() {
        report.check(
            &format!("{} {from} to {to} port {port} is {word}", family(v4)),
            || {
                let is = opens(&cluster.lab, from, address(cluster, path, v4)?);
                ensure!(is == open, "it is not");
                Ok("as it should be".to_owned())
            },
        );
    }
}

/// Three periods of the readiness probe: a node may always reach its own pods.
fn probes_pass(cluster: &Cluster, report: &mut Report) {
    report.check("the kubelet's probe still reaches c", || {
        std::thread::sleep(Duration::from_secs(3));
        let pod = ["get", "pod", "-n", "demo", "c", "-o", "json"];
        let pod = cluster.lab.kubectl_json(&pod)?;
        let conditions = pod["status"]["conditions"].as_array();
        let ready = conditions.is_some_and(|c| {
            c.iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        });
        ensure!(ready, "c is not Ready any more");
        Ok("Ready after three probe periods".to_owned())
    });
}
