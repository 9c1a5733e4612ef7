//! Installing as a user would: `kubectl apply -k manifests/`, one Installation, and what the racks need beside it.

use crate::{cluster::root, peering::Peering, report::Report};
use anyhow::{Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{fmt::Write, time::Duration};

/// The apps: two on the first node, one beside it in the rack, one on the last node, in another rack.
pub(crate) const APPS: [&str; 4] = ["a1", "a2", "b", "c"];

fn node_of(lab: &Lab, app: &str) -> String {
    match app {
        "b" => "n2".to_owned(),
        "c" => format!("n{}", lab.nodes().len()),
        _ => "n1".to_owned(),
    }
}

/// Installs Margay and waits until every node is Ready.
pub(crate) fn install(lab: &Lab, peering: Peering, report: &mut Report) -> Result<()> {
    let manifests = root().join("manifests").display().to_string();
    let done = report.check("kubectl apply -k manifests/", || {
        let output = lab.kubectl(&["apply", "-k", &manifests])?;
        lab.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd",
            "--all",
        ])?;
        Ok(format!("{} objects", output.lines().count()))
    });
    ensure!(done, "nothing else can work without the manifests");
    report.check("an Installation without asNumber is refused", || {
        let refused = lab.apply("apiVersion: margay.dev/v1alpha1\nkind: Installation\nmetadata: {name: default}\nspec: {pools: []}\n");
        let Err(error) = refused else { anyhow::bail!("it was accepted") };
        ensure!(format!("{error:#}").contains("asNumber"), "the refusal does not name the field: {error:#}");
        Ok("spec.asNumber: Required value".to_owned())
    });
    report.check(
        "one Installation, and what is particular to each rack",
        || {
            peering.apply(lab)?;
            Ok(peering.what().to_owned())
        },
    );
    report.check("every node is Ready", || {
        wait_until("nodes Ready", Duration::from_secs(120), || {
            let nodes = lab.kubectl(&["get", "nodes", "--no-headers"])?;
            let ready = nodes
                .lines()
                .filter(|l| l.split_whitespace().nth(1) == Some("Ready"))
                .count();
            Ok(if ready == lab.nodes().len() {
                Seen::Holds(format!("{ready} nodes"))
            } else {
                Seen::NotYet(format!("{nodes}\n{}", pods(lab)))
            })
        })
    });
    report.check("NetworkUnavailable is cleared on every node", || {
        wait_until("the conditions", Duration::from_secs(10), || {
            let path =
                "jsonpath={.items[*].status.conditions[?(@.type==\"NetworkUnavailable\")].status}";
            let conditions = lab.kubectl(&["get", "nodes", "-o", path])?;
            let cleared = conditions
                .split_whitespace()
                .filter(|s| *s == "False")
                .count();
            Ok(if cleared == lab.nodes().len() {
                Seen::Holds(conditions)
            } else {
                Seen::NotYet(format!("`{conditions}`"))
            })
        })
    });
    report.check("the Installation says so", || {
        lab.kubectl(&[
            "wait",
            "--for=condition=Available",
            "--timeout=60s",
            "installation/default",
        ])?;
        lab.kubectl(&["get", "installation", "default", "--no-headers"])
            .map(|l| l.trim().to_owned())
    });
    report.check("CoreDNS runs on it", || {
        lab.kubectl(&[
            "rollout",
            "status",
            "deployment/coredns",
            "-n",
            "kube-system",
            "--timeout=60s",
        ])
        .map(|l| l.trim().to_owned())
    });
    Ok(())
}

fn pods(lab: &Lab) -> String {
    lab.kubectl(&["get", "pods", "-n", "margay-system", "-o", "wide"])
        .unwrap_or_default()
}

/// Applies the apps: pods pinned to nodes, each an HTTP server that says who asked, and a Service of two of them.
pub(crate) fn apps(lab: &Lab) -> Result<()> {
    let mut yaml = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo, labels: {team: demo}}\n",
    );
    for name in APPS {
        let (app, node) = (&name[..1], node_of(lab, name));
        let _ = write!(
            yaml,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: demo, labels: {{app: {app}, pod: {name}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: lab.local/agnhost:2.56
      imagePullPolicy: Never
      args: [netexec, --http-port=8080, --udp-port=8081]
      ports: [{{containerPort: 8080}}]
      readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
    - name: second
      image: lab.local/agnhost:2.56
      imagePullPolicy: Never
      args: [netexec, --http-port=9090, --udp-port=9091]
"
        );
    }
    yaml.push_str(SERVICE);
    lab.apply(&yaml)?;
    Ok(())
}

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: c, namespace: demo}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: c}
  ports: [{port: 80, targetPort: 8080}]
";
