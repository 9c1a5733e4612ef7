//! NetworkPolicy: a default-deny that cuts, an allow that opens, in milliseconds after the API server took it.

use crate::{
    cluster::{Cluster, FAMILIES, family},
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
    let result = steps(cluster, report);
    // Whatever failed, the next scenario starts without policies.
    cluster
        .lab
        .kubectl(&["delete", "networkpolicy", "-n", "demo", "--all"])?;
    result
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: demo}}\nspec: {spec}\n"
    )
}

fn steps(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let to_c = |v4: bool, port: u16| {
        cluster
            .app("c")
            .address(v4)
            .map(|a| SocketAddr::new(a, port))
    };
    report.check("before any policy a1 and b reach c", || {
        for v4 in FAMILIES {
            ensure!(
                opens(&cluster.lab, "pod:demo/a1", to_c(v4, 8080)?)
                    && opens(&cluster.lab, "pod:demo/b", to_c(v4, 8080)?),
                "{} is closed",
                family(v4)
            );
        }
        Ok("both families".to_owned())
    });
    apply(
        cluster,
        report,
        "default-deny ingress on c",
        &policy(
            "deny",
            "{podSelector: {matchLabels: {app: c}}, policyTypes: [Ingress]}",
        ),
        |v4| Ok(("pod:demo/a1", to_c(v4, 8080)?, false)),
    );
    report.check("the kubelet's probe still reaches c", || {
        let pod = cluster
            .lab
            .kubectl_json(&["get", "pod", "-n", "demo", "c", "-o", "json"])?;
        std::thread::sleep(Duration::from_secs(3));
        let again = cluster
            .lab
            .kubectl_json(&["get", "pod", "-n", "demo", "c", "-o", "json"])?;
        let ready = |p: &serde_json::Value| {
            p["status"]["conditions"].as_array().is_some_and(|c| {
                c.iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
        };
        ensure!(ready(&pod) && ready(&again), "c is not Ready any more");
        Ok("Ready after three probe periods".to_owned())
    });
    let from_a = "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{protocol: TCP, port: 8080}]}]}";
    apply(
        cluster,
        report,
        "allow from pods app=a to TCP 8080",
        &policy("allow", from_a),
        |v4| Ok(("pod:demo/a1", to_c(v4, 8080)?, true)),
    );
    for (who, port, open) in [
        ("pod:demo/b", 8080, false),
        ("pod:demo/a1", 9090, false),
        ("outside", 8080, false),
        ("n1", 8080, false),
    ] {
        still(cluster, report, who, port, open)?;
    }
    let namespace = "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: demo}}}]}]}";
    apply(
        cluster,
        report,
        "allow from namespaces team=demo",
        &policy("allow", namespace),
        |v4| Ok(("pod:demo/b", to_c(v4, 9090)?, true)),
    );
    let block = "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.64/26]}}, {ipBlock: {cidr: '2001:db8:113::/64'}}]}]}";
    apply(
        cluster,
        report,
        "allow from ipBlocks of the outside host",
        &policy("allow", block),
        |v4| Ok(("outside", to_c(v4, 8080)?, true)),
    );
    still(cluster, report, "pod:demo/a1", 8080, false)?;
    cluster
        .lab
        .kubectl(&["delete", "networkpolicy", "-n", "demo", "--all"])?;
    let egress = "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 8080}]}]}";
    apply(
        cluster,
        report,
        "egress of app=a only to app=b",
        &policy("egress", egress),
        |v4| Ok(("pod:demo/a1", to_c(v4, 8080)?, false)),
    );
    report.check(
        "and to b it is open, also from another pod that b's node does not know",
        || {
            for v4 in FAMILIES {
                let b = SocketAddr::new(cluster.app("b").address(v4)?, 8080);
                ensure!(
                    opens(&cluster.lab, "pod:demo/a1", b) && opens(&cluster.lab, "pod:demo/a2", b),
                    "{} is closed",
                    family(v4)
                );
            }
            Ok("both families".to_owned())
        },
    );
    Ok(())
}

/// Applies a policy and measures when each family follows. `kubectl` itself takes most of it, so that is shown too.
fn apply(
    cluster: &Cluster,
    report: &mut Report,
    what: &str,
    yaml: &str,
    probe: impl Fn(bool) -> Result<(&'static str, SocketAddr, bool)>,
) {
    report.check(what, || {
        let mut probes = Vec::new();
        for v4 in FAMILIES {
            let (from, to, open) = probe(v4)?;
            probes.push((v4, open, Probe::start(&cluster.lab, from, to, open)?));
        }
        let begin = Instant::now();
        cluster.lab.apply(yaml)?;
        let kubectl = begin.elapsed();
        let mut seen = Vec::new();
        for (v4, open, probe) in probes {
            let after = probe.turned()?.saturating_duration_since(begin);
            let word = if open { "open" } else { "cut" };
            seen.push(format!(
                "{} {word} after {} ms",
                family(v4),
                after.as_millis()
            ));
        }
        Ok(format!(
            "{} (kubectl took {} ms of it)",
            seen.join(", "),
            kubectl.as_millis()
        ))
    });
}

fn still(cluster: &Cluster, report: &mut Report, from: &str, port: u16, open: bool) -> Result<()> {
    for v4 in FAMILIES {
        let to = SocketAddr::new(cluster.app("c").address(v4)?, port);
        report.check(
            &format!(
                "{} {from} to c port {port} is {}",
                family(v4),
                if open { "open" } else { "closed" }
            ),
            || {
                ensure!(opens(&cluster.lab, from, to) == open, "it is not");
                Ok("as it should be".to_owned())
            },
        );
    }
    Ok(())
}
