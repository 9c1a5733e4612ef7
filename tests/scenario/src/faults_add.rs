//! ADD and DEL as they go wrong on real nodes: before the watch, without a namespace, late, twice, never, with the agent killed under them;
//! static pods, and sandboxes that die. That the agent may be killed at each single step is a test of the agent itself (`run::cut_off`).

mod pods;

use crate::{
    cluster::Cluster,
    report::Report,
    runtime::{self, Answer, Sandbox, all_at_once, bound_pods},
};
use anyhow::{Context, Result, bail, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

pub(crate) const NAMESPACE: &str = "faults";
/// A namespace that is gone is seen at the next look, every 30 s.
const SWEEP: Duration = Duration::from_secs(35);

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let before = attachments(lab)?;
    lab.kubectl(&["create", "namespace", NAMESPACE])?;
    let result = faults(lab, report);
    let put_back = report.check("everything is put back, and nothing of it is left", || {
        pods::remove(lab)?;
        runtime::end_all_namespaces(lab)?;
        runtime::end_pods(lab, NAMESPACE)?;
        wait_until("as before", SWEEP, || {
            let now = attachments(lab)?;
            Ok(if now == before {
                Seen::Holds(format!("{} links and records compared", now.len()))
            } else {
                Seen::NotYet(format!(
                    "{:?}",
                    now.symmetric_difference(&before)
                        .take(5)
                        .collect::<Vec<_>>()
                ))
            })
        })
    });
    result?;
    ensure!(put_back, "the next scenario would not find what it expects");
    Ok(())
}

fn faults(lab: &Lab, report: &mut Report) -> Result<()> {
    let never = never(lab)?;
    report.check("ADD while the agent's watch stalls", || stalled(lab));
    report.check("ADD comes before its pod", || early(lab));
    report.check(
        "DEL twice, after the namespace, and late, when the name is another pod's",
        || late(lab),
    );
    report.check("the agent killed under 24 ADDs and DELs", || killed(lab));
    pods::prove(lab, report);
    report.check("DEL never comes, the namespace is gone", || {
        let Never {
            sandbox,
            addresses,
            since,
        } = never;
        wait_until("released", SWEEP, || {
            let held = of_container(lab, &sandbox)?;
            Ok(if held.is_empty() {
                Seen::Holds(())
            } else {
                Seen::NotYet(format!("{held:?}"))
            })
        })?;
        Ok(format!(
            "{addresses:?} freed within {} s",
            since.elapsed().as_secs()
        ))
    });
    Ok(())
}

struct Never {
    sandbox: Sandbox,
    addresses: Vec<IpAddr>,
    since: Instant,
}

/// A pod that has addresses, whose namespace goes without a DEL.
fn never(lab: &Lab) -> Result<Never> {
    let sandbox = one(lab, "never", "n2")?;
    let addresses = sandbox.add(lab)?.done()?;
    ensure!(
        !of_container(lab, &sandbox)?.is_empty(),
        "it was never there"
    );
    runtime::end_namespaces(lab, std::slice::from_ref(&sandbox))?;
    Ok(Never {
        sandbox,
        addresses,
        since: Instant::now(),
    })
}

/// A pod and its sandbox with a namespace.
fn one(lab: &Lab, pod: &str, node: &str) -> Result<Sandbox> {
    let sandboxes = bound_pods(lab, NAMESPACE, pod, &[node.to_owned()], 1)?;
    runtime::make_namespaces(lab, &sandboxes)?;
    sandboxes.into_iter().next().context("one sandbox")
}

/// What the API server sends the agent of n2 is dropped: it cannot know a pod that is made now.
fn stalled(lab: &Lab) -> Result<String> {
    let sockets = lab.exec("n2", &["ss", "-Htnp", "state", "established"])?;
    let ports: Vec<&str> = sockets
        .lines()
        .filter(|line| line.contains("\"margay-agent\""))
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let peer = columns.get(3)?.rsplit(':').next()?;
            (peer == "443" || peer == "6443").then_some(columns[2].rsplit(':').next()?)
        })
        .collect();
    ensure!(
        !ports.is_empty(),
        "the agent has no connection to the API server: {sockets}"
    );
    let rules = format!(
        "table inet stall {{ chain input {{ type filter hook input priority -300; tcp dport {{ {} }} counter drop; }}; }}",
        ports.join(", ")
    );
    lab.exec("n2", &["nft", &rules])?;
    let seen = while_stalled(lab);
    let table = lab.exec("n2", &["nft", "list", "table", "inet", "stall"])?;
    lab.exec("n2", &["nft", "delete", "table", "inet", "stall"])?;
    let (sandbox, refused) = seen?;
    ensure!(
        !table.contains("packets 0 "),
        "nothing was dropped, the fault took no effect: {table}"
    );
    let begin = Instant::now();
    wait_until(
        "ADD once the watch goes on",
        Duration::from_secs(30),
        || match sandbox.add(lab)? {
            Answer::Done(_) => Ok(Seen::Holds(())),
            Answer::Refused { text, .. } => Ok(Seen::NotYet(text)),
        },
    )?;
    sandbox.del(lab)?;
    Ok(format!(
        "{refused}; served {:.1} s after the watch went on",
        begin.elapsed().as_secs_f64()
    ))
}

fn while_stalled(lab: &Lab) -> Result<(Sandbox, String)> {
    let sandbox = one(lab, "stalled", "n2")?;
    let begin = Instant::now();
    let answer = sandbox.add(lab)?;
    let took = begin.elapsed();
    let Answer::Refused { code: 11, text } = answer else {
        bail!("{answer:?} while the agent cannot know the pod")
    };
    ensure!(
        text.contains("is not known to this node's agent yet"),
        "{text}"
    );
    ensure!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(4),
        "after {took:?}"
    );
    Ok((
        sandbox,
        format!("code 11 after {:.1} s: {text}", took.as_secs_f64()),
    ))
}

/// The plugin is called first, its pod is made while it waits.
fn early(lab: &Lab) -> Result<String> {
    let begin = Instant::now();
    // No pod has a UID before it is made; a runtime that gives none is served by name.
    let sandbox = Sandbox::of("n1", NAMESPACE, "early-0", "");
    runtime::make_namespaces(lab, std::slice::from_ref(&sandbox))?;
    let answer = std::thread::scope(|scope| {
        let add = scope.spawn(|| sandbox.add(lab));
        // A look takes longer than an ADD that does not wait.
        let missing = lab.kubectl(&["get", "pod", "-n", NAMESPACE, "early-0"]);
        let waits = missing.is_err() && !add.is_finished();
        let made = bound_pods(lab, NAMESPACE, "early", &["n1".to_owned()], 1);
        let answer = add.join().unwrap_or_else(|_| bail!("the ADD panicked"));
        made?;
        ensure!(waits, "ADD ended before its pod was there: {answer:?}");
        answer
    })?;
    let addresses = answer.done()?;
    sandbox.del(lab)?;
    Ok(format!(
        "{addresses:?} after {} ms",
        begin.elapsed().as_millis()
    ))
}

fn late(lab: &Lab) -> Result<String> {
    // Twice.
    let old = one(lab, "late", "n3")?;
    let first = old.add(lab)?.done()?;
    // The pod goes, its name comes again on the same node, and only then comes the DEL of the old one.
    lab.kubectl(&[
        "delete",
        "pod",
        "-n",
        NAMESPACE,
        "late-0",
        "--force",
        "--grace-period=0",
    ])?;
    let new = one(lab, "late", "n3")?;
    let second = new.add(lab)?.done()?;
    ensure!(
        second.iter().all(|a| !first.contains(a)),
        "{second:?} are still {}'s",
        old.container
    );
    old.del(lab)?;
    old.del(lab)?;
    ensure!(
        of_container(lab, &old)?.is_empty(),
        "something of the old one is left"
    );
    let kept = of_container(lab, &new)?;
    ensure!(
        kept.len() == 2 + second.len(),
        "the late DEL took something of the new pod: {kept:?}"
    );
    // Without its namespace.
    runtime::end_namespaces(lab, &[new.clone(), old])?;
    new.del(lab)?;
    ensure!(
        of_container(lab, &new)?.is_empty(),
        "something is left without the namespace"
    );
    Ok(format!(
        "old {first:?}, new {second:?}; link, record and routes of the new one outlived the late DEL of the old"
    ))
}

/// Half of them get a DEL, half an ADD, all at once, and the agent a signal 9 as soon as the first is served.
fn killed(lab: &Lab) -> Result<String> {
    let sandboxes = bound_pods(lab, NAMESPACE, "burst", &["n3".to_owned()], 24)?;
    runtime::make_namespaces(lab, &sandboxes)?;
    let (old, new) = sandboxes.split_at(12);
    all_at_once(old, |sandbox| sandbox.add(lab)?.done())?;
    let pid = lab.pids("n3", "margay-agent")?;
    let cut = std::sync::atomic::AtomicUsize::new(0);
    let once = std::sync::Once::new();
    let begin = Instant::now();
    let answers = all_at_once(&sandboxes, |sandbox| {
        let deleted = old.iter().any(|o| o.container == sandbox.container);
        wait_until(&sandbox.pod, Duration::from_secs(60), || {
            let answer = if deleted {
                sandbox.del(lab).map(|()| Vec::new())
            } else {
                sandbox.add(lab).and_then(Answer::done)
            };
            once.call_once(|| {
                // What it does not find is seen below.
                let _ = lab.kill("n3", "margay-agent", "KILL");
                let _ = lab.kubectl(&[
                    "delete",
                    "pod",
                    "-n",
                    "margay-system",
                    "-l",
                    "app.kubernetes.io/name=margay-agent",
                    "--field-selector",
                    "spec.nodeName=n3",
                    "--force",
                    "--grace-period=0",
                    "--wait=false",
                ]);
            });
            match answer {
                Ok(addresses) => Ok(Seen::Holds(addresses)),
                Err(error) => {
                    cut.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if !deleted {
                        // As the runtime does after an ADD that failed.
                        let _ = sandbox.del(lab);
                    }
                    Ok(Seen::NotYet(format!("{error:#}")))
                }
            }
        })
    })?;
    let took = begin.elapsed();
    let cut = cut.into_inner();
    ensure!(
        lab.pids("n3", "margay-agent")? != pid,
        "the fault took no effect: the same agent runs"
    );
    ensure!(cut > 0, "the fault took no effect: no verb was cut off");
    let given: Vec<IpAddr> = answers.into_iter().flatten().collect();
    let distinct: BTreeSet<IpAddr> = given.iter().copied().collect();
    ensure!(
        given.len() == 24 && distinct.len() == 24,
        "{} addresses, {} distinct, of 12 pods",
        given.len(),
        distinct.len()
    );
    for sandbox in old {
        ensure!(
            of_container(lab, sandbox)?.is_empty(),
            "{}: {:?}",
            sandbox.pod,
            of_container(lab, sandbox)?
        );
    }
    for sandbox in new {
        let parts = of_container(lab, sandbox)?;
        ensure!(parts.len() == 4, "{}: {parts:?}", sandbox.pod);
    }
    all_at_once(new, |sandbox| sandbox.del_until_done(lab))?;
    runtime::end_namespaces(lab, &sandboxes)?;
    Ok(format!(
        "sent 12 DELs and 12 ADDs, {cut} calls cut off and repeated, all done after {:.1} s; 24 addresses, duplicates 0",
        took.as_secs_f64()
    ))
}

/// What a node has of a container: its record, link and routes.
fn of_container(lab: &Lab, sandbox: &Sandbox) -> Result<Vec<String>> {
    let look = format!(
        "cd /run/margay/attachments; for f in *.json; do grep -q '\"{}\"' $f 2>/dev/null || continue; echo record $f; l=${{f%.json}}; \
         ip -br link show $l; ip -4 route show dev $l proto 83; ip -6 route show dev $l proto 83; done; true",
        sandbox.container
    );
    let text = lab.exec(&sandbox.node, &["sh", "-c", &look])?;
    Ok(text
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect())
}

/// Links and records of every node.
fn attachments(lab: &Lab) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for node in lab.nodes() {
        let look = "ls /run/margay/attachments; ip -br link | grep -o '^mgy[^@ ]*'; true";
        let text = lab.exec(&node.name, &["sh", "-c", look])?;
        all.extend(
            text.lines()
                .map(|line| format!("{} {}", node.name, line.trim())),
        );
    }
    Ok(all)
}
