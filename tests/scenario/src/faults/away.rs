//! API server and etcd away, for minutes, while other things go wrong too.

use super::{
    Expect, Fault, Scene, agent,
    dump::Dump,
    kernel::{self, cable_pulled, has_link},
    routers, sh, staged,
    traffic::Streams,
};
use crate::{cluster::Cluster, install, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

/// How long they stay away at least, in seconds, and the variable that says otherwise.
const VARIABLE: &str = "MARGAY_API_AWAY";
const AWAY: u64 = 300;
const SOON: Duration = Duration::from_secs(60);
/// Pods whose sandboxes end meanwhile: on a node whose agent restarted too, and on one whose agent ran on.
const SPARE: [(&str, &str); 2] = [("x1", "n1"), ("x2", "n2")];

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let before = dumps(lab)?;
    let blocks = wait_until("every app's addresses are published", SOON, || {
        let all = allocations(lab)?;
        let known = |a: &std::net::IpAddr| all.iter().any(|l| l.contains(&format!("\"{a}\"")));
        let missing = install::APPS
            .iter()
            .find(|name| !cluster.app(name).addresses.iter().all(known));
        Ok(missing.map_or_else(
            || Seen::Holds(all.clone()),
            |name| Seen::NotYet(format!("{name}'s are not")),
        ))
    })?;
    spare_pods(lab)?;
    let course = staged(cluster, report, window);
    delete_spare_pods(lab)?;
    report.check(
        "nothing is left behind on any node, nor in an IPBlock",
        || {
            wait_until("all as before", SOON, || {
                for (now, before) in dumps(lab)?.iter().zip(&before) {
                    if let Some(difference) = now.difference(before) {
                        return Ok(Seen::NotYet(difference));
                    }
                }
                let now = allocations(lab)?;
                Ok(if now == blocks {
                    Seen::Holds(format!(
                        "{} nodes' kernels and {} allocations as before",
                        before.len(),
                        blocks.len()
                    ))
                } else {
                    Seen::NotYet(format!("{blocks:?} became {now:?}"))
                })
            })
        },
    );
    course
}

fn window(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let lab = scene.lab();
    // Also a fresh container: the kubelet makes one that ended often wait for minutes.
    scene.fault(report, pod_deleted(scene, "n1")?);
    let begin = Instant::now();
    report.check("API server and etcd killed", || {
        for process in ["kube-apiserver", "etcd"] {
            ensure!(
                lab.kill("cp", process, "KILL")? == 1,
                "there is no {process}"
            );
        }
        wait_until("nobody answers", SOON, || {
            let ready = lab.kubectl(&["--request-timeout=2s", "get", "--raw", "/readyz"]);
            Ok(match ready {
                Err(error) => Seen::Holds(format!(
                    "kubectl: {}",
                    format!("{error:#}").lines().last().unwrap_or_default()
                )),
                Ok(text) => Seen::NotYet(text),
            })
        })
    });
    let course = while_away(scene, report);
    let asked = std::env::var(VARIABLE).ok().and_then(|s| s.parse().ok());
    let rest = Duration::from_secs(asked.unwrap_or(AWAY)).saturating_sub(begin.elapsed());
    if !rest.is_zero() {
        report.check("the rest of the time without API server", || {
            idle(scene, rest)
        });
    }
    report.check("API server and etcd again", || {
        lab.restart("cp", "etcd")?;
        lab.restart("cp", "kube-apiserver")?;
        wait_until("the API server serves", SOON, || {
            lab.kubectl(&["get", "--raw", "/readyz"]).map(Seen::Holds)
        })?;
        Ok(format!("away for {} s", begin.elapsed().as_secs()))
    });
    course?;
    report.check(
        "agents are ready again, with the lists, and touch nothing",
        || ready(scene),
    );
    report.check("both sandboxes run, their pods are Ready", || {
        let mut seen = String::new();
        for (pod, node) in SPARE {
            let condition = [
                "wait",
                "-n",
                "demo",
                "--for=condition=Ready",
                "--timeout=90s",
            ];
            lab.kubectl(&[condition.as_slice(), &[&format!("pod/{pod}")]].concat())?;
            let link = wait_until("its link", SOON, || {
                let link = has_link(lab, node, &format!("demo/{pod}"))?;
                Ok(link.map_or_else(|| Seen::NotYet("none".to_owned()), Seen::Holds))
            })?;
            write!(seen, "{pod} by {link} ")?;
        }
        Ok(seen)
    });
    Ok(())
}

fn pod_deleted<'a>(scene: &'a Scene<'_>, node: &'a str) -> Result<Fault<'a>> {
    let old = agent::pid(scene.lab(), node)?;
    let mut fault = agent::ended(scene, node, "KILL");
    fault.name = format!("the agent's pod on {node} deleted");
    fault.strike = Box::new(move || {
        let field = format!("--field-selector=spec.nodeName={node}");
        let app = "app.kubernetes.io/name=margay-agent";
        let delete = ["delete", "pod", "-n", "margay-system", "-l", app, &field];
        let told = scene.lab().kubectl(&delete)?;
        let gone = !scene.lab().pids(node, "margay-agent")?.contains(&old);
        ensure!(gone, "its process still runs");
        Ok(told.trim().to_owned())
    });
    fault.healed = Box::new(move || agent::back(scene.lab(), node, old, true));
    Ok(fault)
}

fn while_away(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let lab = scene.lab();
    let mut killed = agent::ended(scene, "n1", "KILL");
    killed.name += ", without API server";
    killed.healed = {
        let old = agent::pid(lab, "n1")?;
        Box::new(move || agent::back(lab, "n1", old, false))
    };
    scene.fault(report, killed);
    report.check("an agent without lists says so", || {
        // Not ready; its address is served all the same.
        let answer = sh(lab, "n1", "curl -sS http://127.0.0.1:9179/readyz || :")?;
        ensure!(answer.contains("API server"), "/readyz says: {answer}");
        Ok(answer.trim().to_owned())
    });
    let sandboxes: Vec<Option<String>> = SPARE
        .iter()
        .map(|(pod, node)| has_link(lab, node, &format!("demo/{pod}")))
        .collect::<Result<_>>()?;
    for (pod, node) in SPARE {
        report.check(&format!("the sandbox of {pod} on {node} killed"), || {
            kill_sandbox(lab, node, pod)
        });
    }
    // The kubelet ends the rest of the sandbox, or its link would go in the midst of what is compared next.
    wait_until("x1's old link is gone", SOON, || {
        let link = has_link(lab, SPARE[0].1, "demo/x1")?;
        let old = link.filter(|link| sandboxes[0].as_ref() == Some(link));
        Ok(old.map_or(Seen::Holds(()), Seen::NotYet))
    })?;
    for fault in kernel::faults(scene, "n1")? {
        scene.fault(report, fault);
    }
    report.check(
        "the table deleted on n1 while no agent runs and no API server",
        || agent::flushed_unprotected(scene, "n1", true),
    );
    scene.fault(report, cable_pulled(scene, "n1", "tor1", false));
    scene.fault(report, cable_pulled(scene, "n1", "tor1", true));
    scene.fault(report, routers::bird(scene, "tor1", &["n1", "n2"]));
    scene.fault(report, routers::bgpd(scene, "tor2", &["n3"]));
    sandboxes_meanwhile(lab, report, &sandboxes)
}

/// What the kubelets' new sandboxes came to so far.
fn sandboxes_meanwhile(lab: &Lab, report: &mut Report, before: &[Option<String>]) -> Result<()> {
    report.check(
        "x1, whose agent restarted without API server: ADD says to try again",
        || {
            wait_until("the kubelet was told", SOON, || {
                let log = fs::read_to_string(lab.log_path("n1", "kubelet"))?;
                let told = log.lines().rev().find(|line| {
                    line.contains("x1") && line.contains("waiting for the API server")
                });
                Ok(match told {
                    None => Seen::NotYet("not in its log".to_owned()),
                    Some(line) => {
                        let from = line.find("waiting for").unwrap_or(0);
                        Seen::Holds(line[from..].chars().take(160).collect::<String>())
                    }
                })
            })
        },
    );
    report.check("x2, whose agent ran on: its sandbox is made again", || {
        wait_until("a new link", SOON, || {
            let link = has_link(lab, SPARE[1].1, "demo/x2")?;
            Ok(if link.is_some() && link != before[1] {
                Seen::Holds(format!("{:?} became {link:?}", before[1]))
            } else {
                Seen::NotYet(format!("{link:?}"))
            })
        })
    });
    Ok(())
}

/// Kills what holds the pod's namespaces, as the kernel would that runs out of memory.
fn kill_sandbox(lab: &Lab, node: &str, pod: &str) -> Result<String> {
    let filter = format!(
        "labels.\"io.kubernetes.pod.name\"=={pod},labels.\"io.cri-containerd.kind\"==sandbox"
    );
    let ctr = ["ctr", "-n", "k8s.io"];
    let id = lab.exec(
        node,
        &[ctr.as_slice(), &["containers", "ls", "-q", &filter]].concat(),
    )?;
    let id = id.trim();
    ensure!(
        !id.is_empty() && id.lines().count() == 1,
        "sandboxes of {pod}: `{id}`"
    );
    lab.exec(
        node,
        &[ctr.as_slice(), &["tasks", "kill", "-s", "SIGKILL", id]].concat(),
    )?;
    wait_until("it is gone", SOON, || {
        let tasks = lab.exec(node, &[ctr.as_slice(), &["tasks", "ls"]].concat())?;
        let running = tasks
            .lines()
            .any(|l| l.starts_with(id) && l.contains("RUNNING"));
        Ok(if running {
            Seen::NotYet(tasks)
        } else {
            Seen::Holds(())
        })
    })?;
    Ok(format!(
        "sandbox {} does not run any more",
        &id[..12.min(id.len())]
    ))
}

/// Nothing happens, and nothing is lost.
fn idle(scene: &Scene<'_>, rest: Duration) -> Result<String> {
    let denied = scene.denied.count();
    let streams = Streams::start(scene.cluster, &scene.places)?;
    let goal = u64::try_from(rest.as_millis())?;
    let sent = (0..goal.div_ceil(5000)).try_for_each(|_| streams.more(5000));
    let counted = streams.stop()?;
    sent?;
    ensure!(counted.lost == 0, "lost: {}", counted.losses.join(", "));
    let denied = scene.denied.count().since(denied).none()?;
    Ok(format!("sent {}, lost 0, {denied}", counted.sent))
}

fn ready(scene: &Scene<'_>) -> Result<String> {
    let lab = scene.lab();
    scene.prove(Fault {
        name: String::new(),
        nodes: vec!["n3"],
        strike: Box::new(|| Ok(String::new())),
        told: Vec::new(),
        healed: Box::new(move || {
            for node in lab.nodes() {
                agent::back(lab, &node.name, 0, true)?;
            }
            Ok(Seen::Holds(()))
        }),
        within: SOON,
        expect: Expect::NothingLost,
    })
}

fn dumps(lab: &Lab) -> Result<Vec<Dump>> {
    lab.nodes()
        .iter()
        .map(|node| Dump::of(lab, &node.name))
        .collect()
}

/// Every address in use, and its pod, of every block.
fn allocations(lab: &Lab) -> Result<Vec<String>> {
    let blocks = lab.kubectl_json(&["get", "ipblocks"])?;
    let blocks = blocks["items"].as_array().context("no list")?;
    let mut all = Vec::new();
    for block in blocks {
        let name = &block["metadata"]["name"];
        all.push(format!("{name} of {}", block["spec"]["nodeName"]));
        let used = block["spec"]["allocations"].as_array();
        all.extend(
            used.into_iter()
                .flatten()
                .map(|a| format!("{name} {} {}", a["address"], a["pod"])),
        );
    }
    all.sort();
    Ok(all)
}

fn spare_pods(lab: &Lab) -> Result<()> {
    for (pod, node) in SPARE {
        lab.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {pod}, namespace: demo, labels: {{app: spare}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers: [{{name: web, image: 'lab.local/agnhost:2.56', imagePullPolicy: Never, args: [pause]}}]
"
        ))?;
    }
    for (pod, _) in SPARE {
        lab.kubectl(&[
            "wait",
            "-n",
            "demo",
            "--for=condition=Ready",
            "--timeout=60s",
            &format!("pod/{pod}"),
        ])?;
    }
    Ok(())
}

fn delete_spare_pods(lab: &Lab) -> Result<()> {
    let [x1, x2] = SPARE.map(|(pod, _)| pod);
    lab.kubectl(&[
        "delete",
        "pod",
        "-n",
        "demo",
        x1,
        x2,
        "--wait",
        "--ignore-not-found",
    ])
    .map(drop)
}
