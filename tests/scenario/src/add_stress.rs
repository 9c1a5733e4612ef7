//! 200 ADDs at once over nodes whose pools hold far less: no address twice, the rest are told which pool is full, and who waits gets what is freed.

mod pools;

use crate::{
    cluster::Cluster,
    report::Report,
    runtime::{self, Answer, Sandbox, all_at_once, bound_pods},
};
use anyhow::{Context, Result, bail, ensure};
use margay_lab::{Lab, Seen, wait_until};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

const NAMESPACE: &str = "stress";
const ADDS: usize = 200;

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let before = pools::outside_state(lab)?;
    let result = stress(lab, report);
    let put_back = report.check("everything is put back, and nothing of it is left", || {
        pools::restore(lab)?;
        wait_until("as before", Duration::from_secs(40), || {
            let now = pools::outside_state(lab)?;
            Ok(if now == before {
                Seen::Holds(format!("{} links, records and routes compared", now.len()))
            } else {
                let differs = now.symmetric_difference(&before).take(5);
                Seen::NotYet(format!("{:?}", differs.collect::<Vec<_>>()))
            })
        })
    });
    result?;
    ensure!(put_back, "the next scenario would not find what it expects");
    Ok(())
}

fn stress(lab: &Lab, report: &mut Report) -> Result<()> {
    lab.apply(pools::POOLS)?;
    let nodes: Vec<String> = lab.nodes().iter().map(|n| n.name.clone()).collect();
    let sandboxes = bound_pods(lab, NAMESPACE, "pod", &nodes, ADDS)?;
    runtime::make_namespaces(lab, &sandboxes)?;
    pools::set_large(lab, true)?;
    wait_until(
        "the tiny pools are all there is",
        Duration::from_secs(20),
        || pools::only_tiny(lab),
    )?;
    let mut granted = BTreeMap::new();
    report.check(
        &format!("{ADDS} ADDs at once over {} nodes", nodes.len()),
        || {
            granted = flood(lab, &sandboxes)?;
            distinct(&granted)
        },
    );
    report.check("kernel, records and IPBlocks say the same", || {
        agree(lab, &sandboxes, &granted)
    });
    report.check(
        "the refused pods have an event that names pool, numbers and remedy",
        || told(lab, &sandboxes, &granted),
    );
    report.check(
        "a pod of the kubelet's waits, and gets the address that is freed",
        || waits(lab, &sandboxes, &mut granted),
    );
    report.check("a pool that grows serves who waits", || {
        grown(lab, &sandboxes, &granted)
    });
    report.check("DEL of all at once", || {
        let begin = Instant::now();
        all_at_once(&sandboxes, |sandbox| sandbox.del_until_done(lab))?;
        runtime::end_namespaces(lab, &sandboxes)?;
        Ok(format!(
            "{} DELs in {} ms",
            sandboxes.len(),
            begin.elapsed().as_millis()
        ))
    });
    Ok(())
}

/// Addresses by container.
type Granted = BTreeMap<String, Vec<IpAddr>>;

/// Every ADD at the same time, each as the kubelet does it: what is refused for another reason than a full pool is undone and tried again.
fn flood(lab: &Lab, sandboxes: &[Sandbox]) -> Result<Granted> {
    let answers = all_at_once(sandboxes, |sandbox| {
        let begin = Instant::now();
        loop {
            match sandbox.add(lab)? {
                Answer::Refused { text, code: 11 } if !text.contains("tiny-") => {
                    ensure!(
                        begin.elapsed() < Duration::from_secs(30),
                        "{} is still refused: {text}",
                        sandbox.pod
                    );
                    sandbox.del(lab)?;
                }
                answer => return Ok(answer),
            }
        }
    })?;
    let mut granted = Granted::new();
    for (sandbox, answer) in sandboxes.iter().zip(answers) {
        match answer {
            Answer::Done(addresses) => {
                granted.insert(sandbox.container.clone(), addresses);
            }
            Answer::Refused { code: 11, text }
                if text.contains("no free IPv4 address: pool tiny-v4") => {}
            Answer::Refused { code, text } => bail!("{}: code {code}: {text}", sandbox.pod),
        }
    }
    Ok(granted)
}

/// No address twice, none of half a pair, and every one of the pool was handed out.
fn distinct(granted: &Granted) -> Result<String> {
    let all: Vec<IpAddr> = granted.values().flatten().copied().collect();
    let distinct: BTreeSet<IpAddr> = all.iter().copied().collect();
    let duplicates = all.len() - distinct.len();
    let v4 = distinct.iter().filter(|a| a.is_ipv4()).count();
    ensure!(duplicates == 0, "{duplicates} addresses were given twice");
    ensure!(
        granted.values().all(|a| a.len() == 2),
        "a pod has one family only: {granted:?}"
    );
    ensure!(
        v4 == pools::USABLE,
        "{v4} IPv4 addresses were given of {}",
        pools::USABLE
    );
    Ok(format!(
        "sent {ADDS}, {} got an address of each family, {} distinct addresses, duplicates {duplicates}, {} refused for want of tiny-v4",
        granted.len(),
        distinct.len(),
        ADDS - granted.len()
    ))
}

/// Routes and records of each node, and what the IPBlocks publish, against what the plugin answered.
fn agree(lab: &Lab, sandboxes: &[Sandbox], granted: &Granted) -> Result<String> {
    wait_until("agreement", Duration::from_secs(15), || {
        let published = pools::published(lab)?;
        let given: BTreeSet<IpAddr> = granted.values().flatten().copied().collect();
        if published != given {
            return Ok(Seen::NotYet(format!(
                "{} published, {} given",
                published.len(),
                given.len()
            )));
        }
        for node in lab.nodes() {
            let mine = |s: &&Sandbox| s.node == node.name;
            let want: BTreeSet<IpAddr> = sandboxes
                .iter()
                .filter(mine)
                .filter_map(|s| granted.get(&s.container))
                .flatten()
                .copied()
                .collect();
            let routes = pools::pod_routes(lab, &node.name)?;
            ensure!(
                routes == want,
                "{}: routes {routes:?}, answers {want:?}",
                node.name
            );
            let records = lab.exec(
                &node.name,
                &["sh", "-c", "cat /run/margay/attachments/*.json"],
            )?;
            for sandbox in sandboxes.iter().filter(mine) {
                let recorded = records.contains(&sandbox.container);
                ensure!(
                    recorded == granted.contains_key(&sandbox.container),
                    "{}: recorded is {recorded}",
                    sandbox.pod
                );
            }
        }
        Ok(Seen::Holds(format!(
            "{} addresses in routes, records and IPBlocks",
            given.len()
        )))
    })
}

fn told(lab: &Lab, sandboxes: &[Sandbox], granted: &Granted) -> Result<String> {
    let refused: BTreeSet<&str> = sandboxes
        .iter()
        .filter(|s| !granted.contains_key(&s.container))
        .map(|s| s.pod.as_str())
        .collect();
    wait_until("the events", Duration::from_secs(20), || {
        let events = events_of(lab, "reason=NoFreeAddress")?;
        let wrong = events
            .iter()
            .find(|(pod, text)| !refused.contains(pod.as_str()) || !names_all(text));
        if let Some((pod, text)) = wrong {
            return Ok(Seen::Never(format!("{pod}: {text}")));
        }
        // An agent writes 16 at once and then one in 5 s.
        Ok(if events.len() >= 3 * 8 {
            Seen::Holds(format!(
                "{} of {} so far, such as: {}",
                events.len(),
                refused.len(),
                events[0].1
            ))
        } else {
            Seen::NotYet(format!("{} events", events.len()))
        })
    })
}

fn names_all(text: &str) -> bool {
    [
        "pool tiny-v4",
        "10.251.0.0/26",
        "all 8 blocks are claimed",
        "addresses in use",
        "enlarge its cidr",
    ]
    .iter()
    .all(|word| text.contains(word))
}

fn events_of(lab: &Lab, selector: &str) -> Result<Vec<(String, String)>> {
    let events = lab.kubectl_json(&[
        "get",
        "events",
        "-n",
        NAMESPACE,
        "--field-selector",
        selector,
    ])?;
    let items = events["items"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    Ok(items
        .map(|e| (text(&e["involvedObject"]["name"]), text(&e["message"])))
        .collect())
}

const LATE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: stress}
spec:
  nodeSelector: {kubernetes.io/hostname: n1}
  terminationGracePeriodSeconds: 0
  containers: [{name: pause, image: 'lab.local/pause:1', imagePullPolicy: Never}]
";

/// The kubelet's own words, ours, and the recovery.
fn waits(lab: &Lab, sandboxes: &[Sandbox], granted: &mut Granted) -> Result<String> {
    lab.apply(LATE)?;
    // The agent's own event says the same, when its turn comes: 45 pods of this node wait for theirs.
    wait_until("the kubelet's event", Duration::from_secs(30), || {
        let selector = "involvedObject.name=late,reason=FailedCreatePodSandBox";
        let events = events_of(lab, selector)?;
        let fit = events.iter().any(|(_, text)| names_all(text));
        Ok(if fit {
            Seen::Holds(())
        } else {
            Seen::NotYet(format!("{events:?}"))
        })
    })?;
    let holder = sandboxes
        .iter()
        .find(|s| s.node == "n1" && granted.contains_key(&s.container));
    let holder = holder.context("a sandbox of n1 that has addresses")?;
    let freed = granted.remove(&holder.container).context("its addresses")?;
    let begin = Instant::now();
    holder.del(lab)?;
    let got = wait_until("pod late has addresses", Duration::from_secs(40), || {
        let pod = lab.kubectl_json(&["get", "pod", "-n", NAMESPACE, "late"])?;
        let ips = pod["status"]["podIPs"].as_array().into_iter().flatten();
        let ips: Vec<IpAddr> = ips
            .filter_map(|ip| ip["ip"].as_str()?.parse().ok())
            .collect();
        Ok(if ips.len() == 2 {
            Seen::Holds(ips)
        } else {
            Seen::NotYet(pod["status"]["phase"].to_string())
        })
    })?;
    let took = begin.elapsed();
    let v4 = |all: &[IpAddr]| all.iter().copied().find(IpAddr::is_ipv4);
    ensure!(
        v4(&got) == v4(&freed),
        "it got {got:?}, freed were {freed:?}"
    );
    lab.kubectl(&["delete", "pod", "-n", NAMESPACE, "late", "--wait"])?;
    Ok(format!(
        "freed {freed:?}, got {got:?} {:.1} s later (the kubelet tries again every 10 to 15 s)",
        took.as_secs_f64()
    ))
}

/// A user's remedy: a larger cidr, in which every refused ADD finds an address.
fn grown(lab: &Lab, sandboxes: &[Sandbox], granted: &Granted) -> Result<String> {
    let waiting: Vec<Sandbox> = sandboxes
        .iter()
        .filter(|s| !granted.contains_key(&s.container))
        .cloned()
        .collect();
    let patch = r#"{"spec":{"cidr":"10.251.0.0/24"}}"#;
    lab.kubectl(&["patch", "ippool", "tiny-v4", "--type=merge", "-p", patch])?;
    let begin = Instant::now();
    let answers = all_at_once(&waiting, |sandbox| {
        wait_until(&sandbox.pod, Duration::from_secs(30), || {
            match sandbox.add(lab)? {
                Answer::Done(addresses) => Ok(Seen::Holds(addresses)),
                Answer::Refused { text, .. } => {
                    sandbox.del(lab)?;
                    Ok(Seen::NotYet(text))
                }
            }
        })
    })?;
    let took = begin.elapsed();
    let all: Vec<&IpAddr> = granted
        .values()
        .flatten()
        .chain(answers.iter().flatten())
        .collect();
    let distinct: BTreeSet<&IpAddr> = all.iter().copied().collect();
    ensure!(
        distinct.len() == all.len(),
        "{} addresses were given twice",
        all.len() - distinct.len()
    );
    Ok(format!(
        "all {} that waited, duplicates 0 among {} addresses, within {:.1} s",
        waiting.len(),
        all.len(),
        took.as_secs_f64()
    ))
}
