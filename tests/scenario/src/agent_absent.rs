//! Without an agent: running pods keep their network, new ones fail with an event that says why, and start once it is back.

use crate::{cluster::Cluster, http::opens, report::Report};
use anyhow::{Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{net::SocketAddr, time::Duration};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: demo}
spec:
  nodeSelector: {kubernetes.io/hostname: n3}
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: 'lab.local/agnhost:2.56', imagePullPolicy: Never, args: [pause]}]
";

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    lab.kubectl(&[
        "scale",
        "-n",
        "margay-system",
        "deployment/margay-operator",
        "--replicas=0",
    ])?;
    lab.kubectl(&[
        "wait",
        "-n",
        "margay-system",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/name=margay-operator",
        "--timeout=60s",
    ])?;
    lab.kubectl(&[
        "delete",
        "-n",
        "margay-system",
        "daemonset/margay-agent",
        "--wait",
    ])?;
    report.check("no agent runs", || {
        wait_until("agents gone", Duration::from_secs(60), || {
            let running = lab.pids("n3", "margay-agent")?.len();
            Ok(if running == 0 {
                Seen::Holds("n3 has no such process".to_owned())
            } else {
                Seen::NotYet(format!("{running} on n3"))
            })
        })
    });
    bind_pod(lab)?;
    report.check("a new pod fails with an event that says why", || {
        wait_until("the event", Duration::from_secs(40), || {
            let events = lab.kubectl(&[
                "get",
                "events",
                "-n",
                "demo",
                "--field-selector",
                "involvedObject.name=late,reason=FailedCreatePodSandBox",
                "-o",
                "jsonpath={.items[*].message}",
            ])?;
            let told = events.to_lowercase().contains("margay") && events.contains("agent");
            Ok(if told {
                Seen::Holds(events.chars().take(260).collect::<String>())
            } else {
                Seen::NotYet(events)
            })
        })
    });
    report.check("pods that run keep their network", || {
        for v4 in crate::cluster::FAMILIES {
            let c = SocketAddr::new(cluster.app("c").address(v4)?, 8080);
            ensure!(
                opens(lab, "pod:demo/a1", c) && opens(lab, "outside", c),
                "{} is cut",
                crate::cluster::family(v4)
            );
        }
        Ok("a1 and the outside host to c, both families".to_owned())
    });
    lab.kubectl(&[
        "scale",
        "-n",
        "margay-system",
        "deployment/margay-operator",
        "--replicas=1",
    ])?;
    report.check(
        "the operator brings the agents back, and the pod starts",
        || recovered(lab),
    );
    lab.kubectl(&["delete", "pod", "-n", "demo", "late", "--wait"])?;
    Ok(())
}

/// A scheduler whose API server was away tries its watches again after half a minute, and that is not what is looked at here.
fn bind_pod(lab: &Lab) -> Result<()> {
    lab.apply(POD)?;
    wait_until(
        "the scheduler has seen the pod",
        Duration::from_secs(90),
        || {
            let node = lab.kubectl(&[
                "get",
                "pod",
                "-n",
                "demo",
                "late",
                "-o",
                "jsonpath={.spec.nodeName}",
            ])?;
            Ok(if node.is_empty() {
                Seen::NotYet("not bound".to_owned())
            } else {
                Seen::Holds(())
            })
        },
    )
}

fn recovered(lab: &Lab) -> Result<String> {
    wait_until("the DaemonSet is back", Duration::from_secs(60), || {
        lab.kubectl(&["get", "-n", "margay-system", "daemonset/margay-agent"])
            .map(Seen::Holds)
    })?;
    lab.kubectl(&[
        "rollout",
        "status",
        "-n",
        "margay-system",
        "daemonset/margay-agent",
        "--timeout=90s",
    ])?;
    lab.kubectl(&[
        "wait",
        "-n",
        "demo",
        "--for=condition=Ready",
        "pod/late",
        "--timeout=90s",
    ])?;
    Ok("agents rolled out, the pod is Ready".to_owned())
}
