//! What NetworkPolicy sees of a Service: the backend's address and port, and the client as long as no other node has translated it.
//!
//! Service `one` maps port 80 to 8080 and port 8080 to 9090: a policy that sees the wrong side of it opens the wrong one.

use super::stage::{HOST_PORT, NAMESPACE, Stage, To};
use crate::{cluster::family, report::Report};
use anyhow::{Result, anyhow, ensure};
use margay_lab::{Seen, wait_until};
use std::{thread, time::Duration};

/// From whom, where to, and whether it opens.
type Path = (&'static str, To, bool);

/// A policy, and what must be so under it; the first path is one that it turns.
struct Step {
    what: &'static str,
    spec: &'static str,
    paths: &'static [Path],
}

const WEB: To = To::Service("one", 80);
const SECOND: To = To::Service("one", 8080);
/// ETP Cluster and Local, by nodes.
const BY_N3: To = To::Node("n3", 30080);
const BY_N1: To = To::Node("n1", 30080);
const LOCAL: To = To::Node("n1", 30082);
const HOST: To = To::Node("n1", HOST_PORT);

/// Each replaces the one before.
const STEPS: &[Step] = &[
    Step {
        what: "default-deny closes every way to x1, but not to itself",
        spec: "{podSelector: {matchLabels: {pod: x1}}, policyTypes: [Ingress]}",
        paths: &[
            ("b", WEB, false),
            ("outside", BY_N3, false),
            ("outside", LOCAL, false),
            ("outside", HOST, false),
            ("x1", WEB, true),
            ("n1", WEB, true),
        ],
    },
    Step {
        what: "port 8080, the target port of service port 80",
        spec: "{podSelector: {matchLabels: {pod: x1}}, ingress: [{ports: [{port: 8080}]}]}",
        paths: &[
            ("b", WEB, true),
            ("b", SECOND, false),
            ("outside", HOST, true),
        ],
    },
    Step {
        what: "port 9090, the target port of service port 8080; port 80 is no pod's port",
        spec: "{podSelector: {matchLabels: {pod: x1}}, ingress: [{ports: [{port: 9090}, {port: 80}, {port: 30080}, {port: 18080}]}]}",
        paths: &[
            ("b", SECOND, true),
            ("b", WEB, false),
            ("outside", BY_N3, false),
            ("outside", HOST, false),
        ],
    },
    Step {
        what: "the named port `web`",
        spec: "{podSelector: {matchLabels: {pod: x1}}, ingress: [{ports: [{port: web}]}]}",
        paths: &[
            ("b", WEB, true),
            ("b", SECOND, false),
            ("outside", BY_N3, true),
        ],
    },
    Step {
        what: "ipBlock of the outside host: seen where its address arrives",
        spec: "{podSelector: {matchLabels: {pod: x1}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.10/32}}, {ipBlock: {cidr: '2001:db8:113::10/128'}}]}]}",
        paths: &[
            ("b", WEB, false),
            ("outside", LOCAL, true),
            ("outside", HOST, true),
            // Its own node translates behind the policy, another node before it.
            ("outside", BY_N1, true),
            ("outside", BY_N3, false),
        ],
    },
    Step {
        what: "ipBlock of n3: what comes by n3's NodePort",
        spec: "{podSelector: {matchLabels: {pod: x1}}, ingress: [{from: [{ipBlock: {cidr: 172.31.2.13/32}}, {ipBlock: {cidr: 'fd31:2::13/128'}}]}]}",
        paths: &[
            ("outside", BY_N3, true),
            ("outside", LOCAL, false),
            ("n3", WEB, true),
            ("b", WEB, false),
        ],
    },
    Step {
        what: "pods app=b of namespaces team=demo, by ClusterIP and host port",
        spec: "{podSelector: {matchLabels: {pod: x1}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: demo}}, podSelector: {matchLabels: {app: b}}}]}]}",
        paths: &[
            ("b", WEB, true),
            ("b", HOST, true),
            ("a1", WEB, false),
            ("outside", BY_N3, false),
        ],
    },
    Step {
        what: "egress of x3 to pod x1 on `web` only",
        spec: "{podSelector: {matchLabels: {pod: x3}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: x1}}}], ports: [{port: web}]}]}",
        paths: &[
            ("x3", SECOND, false),
            ("x3", WEB, true),
            ("x3", HOST, false),
            ("x3", To::App("c", 8080), false),
            ("a1", WEB, true),
        ],
    },
    Step {
        what: "egress of a pod on x1's node to x1, by its host port",
        spec: "{podSelector: {matchLabels: {pod: x1}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: x3}}}]}]}",
        paths: &[
            ("x1", To::App("c", 8080), false),
            ("x1", To::Service("twice", 80), true),
            ("x1", WEB, true),
            ("x3", WEB, true),
        ],
    },
];

pub(super) fn prove(stage: &Stage<'_>, report: &mut Report) {
    for (number, step) in STEPS.iter().enumerate() {
        report.check(&format!("policy: {}", step.what), || {
            if number == 0 {
                // Each is open without policy: what closes them is the policy.
                let ways = step.paths.iter().map(|(from, to, _)| (*from, *to, true));
                hold(stage, &ways.collect::<Vec<_>>())?;
            }
            stage.lab().apply(&format!("{HEAD}{}\n", step.spec))?;
            turn(stage, &step.paths[0])?;
            hold(stage, &step.paths[1..])?;
            let open = step.paths.iter().filter(|(.., open)| *open).count();
            let families = stage.families().len();
            Ok(format!(
                "{} paths open, {} closed, {families} families each",
                open,
                step.paths.len() - open
            ))
        });
    }
    report.check("policy: gone", || {
        let delete = ["delete", "networkpolicy", "-n", NAMESPACE, "--all"];
        stage.lab().kubectl(&delete)?;
        turn(stage, &("x1", To::App("c", 8080), true))?;
        Ok("all is open again".to_owned())
    });
}

const HEAD: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: backends, namespace: services}
spec: ";

fn turn(stage: &Stage<'_>, path: &Path) -> Result<()> {
    wait_until("the policy", Duration::from_secs(5), || {
        Ok(match hold(stage, &[*path]) {
            Ok(()) => Seen::Holds(()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
}

/// Every path in every family at once: what is closed takes its time to show.
fn hold(stage: &Stage<'_>, paths: &[Path]) -> Result<()> {
    let one = |(from, to, open): Path, v4| {
        let word = if open { "closed" } else { "open" };
        let is = stage.is(from, to, v4, open)?;
        ensure!(is, "{} {from} to {to} is {word}", family(v4));
        Ok(())
    };
    thread::scope(|scope| {
        let mut looks = Vec::new();
        for v4 in stage.families() {
            let all = paths.iter().map(|path| scope.spawn(move || one(*path, v4)));
            looks.extend(all);
        }
        let joined = looks.into_iter().map(|look| match look.join() {
            Ok(result) => result,
            Err(_) => Err(anyhow!("a look panicked")),
        });
        joined.collect()
    })
}
