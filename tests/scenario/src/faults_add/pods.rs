//! Real pods of the kubelet: one whose sandbox is killed, and a static one.

use super::NAMESPACE;
use crate::{http::opens, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

const MANIFEST: &str = "/etc/kubernetes/manifests/fixed.yaml";

pub(super) fn prove(lab: &Lab, report: &mut Report) {
    report.check("a sandbox is killed and made again", || sandbox(lab));
    report.check("a static pod", || fixed(lab));
}

/// Also after a failure.
pub(super) fn remove(lab: &Lab) -> Result<()> {
    lab.exec("n1", &["rm", "-f", MANIFEST]).map(drop)
}

fn pod(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{app: {name}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: n1}}
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: web, image: 'lab.local/agnhost:2.56', imagePullPolicy: Never, args: [netexec, --http-port=8080]}}
"
    )
}

/// The addresses of a pod that is Ready.
fn ready(lab: &Lab, name: &str) -> Result<Vec<IpAddr>> {
    wait_until(
        &format!("pod {name} is Ready"),
        Duration::from_secs(40),
        || {
            let pod = lab.kubectl_json(&["get", "pod", "-n", NAMESPACE, name])?;
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let is_ready = conditions
                .into_iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            let ips = pod["status"]["podIPs"].as_array().into_iter().flatten();
            let ips: Vec<IpAddr> = ips
                .filter_map(|ip| ip["ip"].as_str()?.parse().ok())
                .collect();
            Ok(if is_ready && ips.len() == 2 {
                Seen::Holds(ips)
            } else {
                Seen::NotYet(format!("{} {ips:?}", pod["status"]["phase"]))
            })
        },
    )
}

/// The ids of a pod's sandboxes whose process runs.
fn sandboxes(lab: &Lab, name: &str) -> Result<Vec<String>> {
    let filter = format!(
        "labels.\"io.kubernetes.pod.namespace\"=={NAMESPACE},labels.\"io.kubernetes.pod.name\"=={name},labels.\"io.cri-containerd.kind\"==sandbox"
    );
    let ids = lab.exec(
        "n1",
        &["ctr", "-n", "k8s.io", "containers", "ls", "-q", &filter],
    )?;
    let tasks = lab.exec("n1", &["ctr", "-n", "k8s.io", "tasks", "ls"])?;
    let runs = |id: &&str| {
        tasks
            .lines()
            .any(|line| line.starts_with(id) && line.contains("RUNNING"))
    };
    Ok(ids
        .split_whitespace()
        .filter(runs)
        .map(str::to_owned)
        .collect())
}

/// Records on n1 that name the pod.
fn records(lab: &Lab, name: &str) -> Result<Vec<String>> {
    let look = format!("grep -l '\"pod\":\"{name}\"' /run/margay/attachments/*.json; true");
    let text = lab.exec("n1", &["sh", "-c", &look])?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn sandbox(lab: &Lab) -> Result<String> {
    lab.apply(&pod("sand"))?;
    let old = ready(lab, "sand")?;
    let running = sandboxes(lab, "sand")?;
    let [killed] = &running[..] else {
        anyhow::bail!("one sandbox is to run, not {running:?}")
    };
    let begin = Instant::now();
    lab.exec(
        "n1",
        &[
            "ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", killed,
        ],
    )?;
    let new = wait_until("another sandbox", Duration::from_secs(40), || {
        let now = sandboxes(lab, "sand")?;
        let addresses = ready(lab, "sand")?;
        Ok(if now.len() == 1 && now != running && addresses != old {
            Seen::Holds(addresses)
        } else {
            Seen::NotYet(format!("{now:?} {addresses:?}"))
        })
    })?;
    let took = begin.elapsed();
    for ip in &new {
        ensure!(
            opens(lab, "outside", SocketAddr::new(*ip, 8080)),
            "{ip} does not answer"
        );
    }
    let one = wait_until("the old one is gone", Duration::from_secs(10), || {
        let records = records(lab, "sand")?;
        Ok(if records.len() == 1 {
            Seen::Holds(())
        } else {
            Seen::NotYet(format!("{records:?}"))
        })
    });
    one?;
    for ip in &old {
        let route = lab.exec("n1", &["ip", "route", "get", &ip.to_string()]);
        ensure!(
            route.is_err() || route?.contains("unreachable"),
            "{ip} of the old sandbox still has a route"
        );
    }
    lab.kubectl(&["delete", "pod", "-n", NAMESPACE, "sand", "--wait"])?;
    Ok(format!(
        "{old:?} became {new:?} after {:.1} s; one record, no route to the old",
        took.as_secs_f64()
    ))
}

/// The kubelet starts it from a file and makes a mirror of it; what the plugin is told as its UID is the hash of that file.
fn fixed(lab: &Lab) -> Result<String> {
    let manifest = pod("fixed");
    lab.exec(
        "n1",
        &[
            "sh",
            "-c",
            &format!("cat > {MANIFEST} <<'EOF'\n{manifest}EOF\n"),
        ],
    )?;
    let addresses = ready(lab, "fixed-n1")?;
    let mirror = lab.kubectl_json(&["get", "pod", "-n", NAMESPACE, "fixed-n1"])?;
    let hash = mirror["metadata"]["annotations"]["kubernetes.io/config.hash"]
        .as_str()
        .context("a mirror's annotation")?;
    let [record] = &records(lab, "fixed-n1")?[..] else {
        anyhow::bail!("one record of fixed-n1")
    };
    let text = lab.exec("n1", &["cat", record])?;
    ensure!(
        text.contains(&format!("\"uid\":\"{hash}\"")),
        "its record names another UID than {hash}: {text}"
    );
    let open = |wanted: bool| {
        wait_until(
            &format!("open is {wanted}"),
            Duration::from_secs(10),
            || {
                let all = addresses
                    .iter()
                    .map(|ip| opens(lab, "outside", SocketAddr::new(*ip, 8080)));
                let all: Vec<bool> = all.collect();
                Ok(if all.iter().all(|open| *open == wanted) {
                    Seen::Holds(())
                } else {
                    Seen::NotYet(format!("{all:?}"))
                })
            },
        )
    };
    open(true)?;
    lab.apply(&format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: closed, namespace: {NAMESPACE}}}\nspec: {{podSelector: {{matchLabels: {{app: fixed}}}}, policyTypes: [Ingress]}}\n"))?;
    open(false)?;
    lab.kubectl(&["delete", "networkpolicy", "-n", NAMESPACE, "closed"])?;
    remove(lab)?;
    wait_until("it is gone", Duration::from_secs(40), || {
        let records = records(lab, "fixed-n1")?;
        Ok(if records.is_empty() {
            Seen::Holds(())
        } else {
            Seen::NotYet(format!("{records:?}"))
        })
    })?;
    Ok(format!(
        "{addresses:?} by configuration hash {hash}; a policy that selects it closes it; gone with its file"
    ))
}
