//! Pools: whose annotation, selector and priority decides; edges; exhaustion.

use super::{says, warned};
use crate::{cluster::Cluster, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{fmt::Write, net::IpAddr, time::Duration};

/// Name, arguments of `margayctl pool create`. None is in the way of other pods: they name it, are selected by it, or run on n2.
const POOLS: &[(&str, &[&str])] = &[
    (
        "settle-gold",
        &[
            "--cidr",
            "10.70.0.0/26",
            "--block-size",
            "29",
            "--priority",
            "-1",
        ],
    ),
    (
        "settle-gold6",
        &[
            "--cidr",
            "fd00:70::/120",
            "--block-size",
            "125",
            "--priority",
            "-1",
        ],
    ),
    (
        "settle-ns",
        &[
            "--cidr",
            "10.71.0.0/26",
            "--block-size",
            "29",
            "--priority",
            "-1",
        ],
    ),
    (
        "settle-red",
        &[
            "--cidr",
            "10.72.0.0/26",
            "--block-size",
            "29",
            "--namespace-selector",
            "settle=red",
        ],
    ),
    (
        "settle-tiny",
        &[
            "--cidr",
            "10.74.0.0/30",
            "--block-size",
            "30",
            "--priority",
            "-1",
        ],
    ),
    (
        "settle-high",
        &[
            "--cidr",
            "10.73.0.0/26",
            "--block-size",
            "29",
            "--priority",
            "5",
            "--node-selector",
            "kubernetes.io/hostname=n2",
        ],
    ),
];

const NAMESPACES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: settle-plain}
---
apiVersion: v1
kind: Namespace
metadata: {name: settle-annotated, annotations: {margay.dev/ipv4-pools: settle-ns}}
---
apiVersion: v1
kind: Namespace
metadata: {name: settle-red, labels: {settle: red}}
";

/// A pod: where, its annotations, the networks that its addresses are in.
struct Case {
    what: &'static str,
    namespace: &'static str,
    name: &'static str,
    node: &'static str,
    annotations: &'static str,
    expected: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        what: "by the pod's annotations, each family on its own",
        namespace: "settle-plain",
        name: "named",
        node: "n1",
        annotations: "{margay.dev/ipv4-pools: settle-gold, margay.dev/ipv6-pools: settle-gold6}",
        expected: &["10.70.0.", "fd00:70::"],
    },
    Case {
        what: "by the namespace's annotation",
        namespace: "settle-annotated",
        name: "of-namespace",
        node: "n1",
        annotations: "{}",
        expected: &["10.71.0.", "fd00:10:244:"],
    },
    Case {
        what: "the pod's annotation before the namespace's",
        namespace: "settle-annotated",
        name: "of-pod",
        node: "n3",
        annotations: "{margay.dev/ipv4-pools: 'settle-gold'}",
        expected: &["10.70.0.", "fd00:10:244:"],
    },
    Case {
        what: "by the pool's namespaceSelector, before priority",
        namespace: "settle-red",
        name: "selected",
        node: "n2",
        annotations: "{}",
        expected: &["10.72.0.", "fd00:10:244:"],
    },
    Case {
        what: "by priority, where the nodeSelector selects",
        namespace: "settle-plain",
        name: "by-priority",
        node: "n2",
        annotations: "{}",
        expected: &["10.73.0.", "fd00:10:244:"],
    },
    Case {
        what: "and elsewhere from the pool of no special kind",
        namespace: "settle-plain",
        name: "by-default",
        node: "n3",
        annotations: "{}",
        expected: &["10.244.", "fd00:10:244:"],
    },
];

/// Annotations for which a pod gets no address, and what its event says.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "nowhere",
        "settle-nowhere",
        "there is no IPPool settle-nowhere",
    ),
    (
        "wrong-family",
        "settle-gold6",
        "IPPool settle-gold6 is of IPv6; name it in margay.dev/ipv6-pools",
    ),
    (
        "other-namespace",
        "settle-red",
        "the spec.namespaceSelector of IPPool settle-red does not select namespace settle-plain",
    ),
    (
        "other-node",
        "settle-high",
        "the spec.nodeSelector of IPPool settle-high does not select this node",
    ),
];

pub(super) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    for (name, arguments) in POOLS {
        cluster.ctl(&[&["pool", "create", name], *arguments].concat())?;
    }
    for (name, _) in POOLS {
        says(
            lab,
            &format!("ippool/{name}"),
            "Active",
            &["True NoOverlap"],
        )?;
    }
    report.show(&cluster.ctl(&["pool", "list", "-o", "wide"])?);
    lab.apply(NAMESPACES)?;
    let mut yaml = String::new();
    for case in CASES {
        pod(
            &mut yaml,
            case.namespace,
            case.name,
            case.node,
            case.annotations,
        );
    }
    for (name, pools, _) in MISTAKES {
        let annotations = format!("{{margay.dev/ipv4-pools: {pools}}}");
        pod(&mut yaml, "settle-plain", name, "n1", &annotations);
    }
    for name in TINY {
        tiny(&mut yaml, name);
    }
    lab.apply(&yaml)?;
    for case in CASES {
        report.check(&format!("a pool is chosen {}", case.what), || {
            let found = addresses(lab, case.namespace, case.name)?;
            let fits = found
                .iter()
                .zip(case.expected)
                .all(|(address, start)| address.to_string().starts_with(start));
            ensure!(
                fits && found.len() == 2,
                "{found:?}, not {:?}",
                case.expected
            );
            reached(lab, &found)?;
            Ok(format!("{found:?}, answering from outside"))
        });
    }
    for (name, pools, why) in MISTAKES {
        report.check(
            &format!("annotation {pools}: the pod's event says why not"),
            || {
                let value = format!("annotation margay.dev/ipv4-pools is `{pools}`");
                let object = format!("pod settle-plain/{name}");
                warned(lab, "settle-plain", name, &[&object, &value, why])
            },
        );
    }
    exhaustion(lab, report)
}

const TINY: [&str; 2] = ["tiny-1", "tiny-2"];

/// Two of the four addresses of a /30 are its edges.
fn exhaustion(lab: &Lab, report: &mut Report) -> Result<()> {
    let pool = "ippool/settle-tiny";
    for name in TINY {
        addresses(lab, "settle-plain", name)?;
    }
    let full = ["True NoFreeAddress", "all 2 addresses of 10.74.0.0/30"];
    report.check("a pool without a free address is Exhausted", || {
        says(lab, pool, "Exhausted", &full)
    });
    let mut yaml = String::new();
    tiny(&mut yaml, "tiny-3");
    lab.apply(&yaml)?;
    report.check("and the pod that wants one hears which pool", || {
        let parts = [
            "no free IPv4 address",
            "pool settle-tiny",
            "pod settle-plain/tiny-3",
        ];
        warned(lab, "settle-plain", "tiny-3", &parts)
    });
    report.check(
        "without reserveEdges the edges are used, and it starts",
        || {
            let patch = "{\"spec\":{\"reserveEdges\":false}}";
            lab.kubectl(&["patch", pool, "--type=merge", "-p", patch])?;
            let found = addresses(lab, "settle-plain", "tiny-3")?;
            let edge = ["10.74.0.0", "10.74.0.3"].contains(&found[0].to_string().as_str());
            ensure!(edge, "{found:?} is no edge of 10.74.0.0/30");
            reached(lab, &found)?;
            Ok(format!("{}, answering from outside", found[0]))
        },
    );
    report.check("and the pool is not Exhausted any more", || {
        says(
            lab,
            pool,
            "Exhausted",
            &["False NoFreeBlock", "1 addresses are free"],
        )
    });
    Ok(())
}

fn tiny(yaml: &mut String, name: &str) {
    let annotations = "{margay.dev/ipv4-pools: settle-tiny}";
    pod(yaml, "settle-plain", name, "n1", annotations);
}

fn pod(yaml: &mut String, namespace: &str, name: &str, node: &str, annotations: &str) {
    // Writing to a String does not fail.
    let _ = write!(
        yaml,
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, annotations: {annotations}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 0
  containers: [{{name: pause, image: 'lab.local/pause:1', imagePullPolicy: Never}}]
"
    );
}

/// The pod's addresses, IPv4 first, once it has them.
fn addresses(lab: &Lab, namespace: &str, name: &str) -> Result<Vec<IpAddr>> {
    let what = format!("the addresses of pod {namespace}/{name}");
    wait_until(&what, Duration::from_secs(60), || {
        let pod = lab.kubectl_json(&["get", "pod", "-n", namespace, name, "-o", "json"])?;
        let listed = pod["status"]["podIPs"].as_array().into_iter().flatten();
        let found: Option<Vec<IpAddr>> = listed.map(|ip| ip["ip"].as_str()?.parse().ok()).collect();
        Ok(match found {
            Some(found) if !found.is_empty() => Seen::Holds(found),
            _ => Seen::NotYet(pod["status"].to_string()),
        })
    })
}

/// Each address answers a ping from outside the cluster: its block is routed.
fn reached(lab: &Lab, addresses: &[IpAddr]) -> Result<()> {
    for address in addresses {
        let address = address.to_string();
        wait_until(
            &format!("{address} answers"),
            Duration::from_secs(15),
            || {
                lab.exec("outside", &["ping", "-c", "1", "-W", "1", &address])
                    .map(Seen::Holds)
            },
        )
        .context("from outside")?;
    }
    Ok(())
}

/// Deletes what was made, also after a failure.
pub(super) fn clear(lab: &Lab) -> Result<()> {
    let namespaces = ["settle-plain", "settle-annotated", "settle-red"];
    let mut arguments = vec!["delete", "namespace", "--ignore-not-found", "--timeout=60s"];
    arguments.extend(namespaces);
    let deleted = lab.kubectl(&arguments);
    let mut arguments = vec!["delete", "ippool", "--ignore-not-found"];
    arguments.extend(POOLS.iter().map(|(name, _)| *name));
    lab.kubectl(&arguments).and(deleted).map(drop)
}

/// Waits until no block of these pools is left: their addresses rest for a minute first.
pub(super) fn blocks_gone(lab: &Lab) -> Result<String> {
    wait_until("the blocks to go", Duration::from_secs(90), || {
        let path = "jsonpath={range .items[*]}{.spec.pool} {.spec.cidr}{'\\n'}{end}";
        let blocks = lab.kubectl(&["get", "ipblocks", "-o", path])?;
        let ours: Vec<&str> = blocks
            .lines()
            .filter(|b| b.starts_with("settle-"))
            .collect();
        Ok(if ours.is_empty() {
            Seen::Holds(format!("{} others stay", blocks.lines().count()))
        } else {
            Seen::NotYet(ours.join(", "))
        })
    })
}
