//! `margayctl doctor` on a cluster that is well, and on one that is broken in one way after another: each is named with its remedy, and gone
//! from the list when it is mended.

use crate::{cluster::Cluster, report::Report};
use anyhow::{Context, Result, anyhow, ensure};
use margay_lab::{Lab, Seen, wait_until};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use std::{
    cell::RefCell,
    fs::File,
    net::TcpListener,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

/// For the cluster to notice, and to mend.
const LIMIT: Duration = Duration::from_secs(40);

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let mut before = String::new();
    report.check("a cluster that is well has no error", || {
        before = report_line(&cluster.ctl(&["doctor"])?)?;
        Ok(before.clone())
    });
    if let Ok(all) = cluster.ctl(&["doctor", "--all", "--node", "n1"]) {
        report.show(&all);
    }
    for fault in faults(cluster)? {
        report.check(&fault.title(), || fault.seen(cluster));
        report.check(&format!("{}, mended", fault.what), || fault.mended(cluster));
    }
    report.check("and at the end it says what it said before", || {
        wait_until("the same summary", LIMIT, || {
            let summary = report_line(&cluster.ctl_output(&["doctor"])?);
            Ok(match summary {
                Ok(summary) if summary == before => Seen::Holds(summary),
                other => Seen::NotYet(format!("{other:?}")),
            })
        })
    });
    Ok(())
}

/// The last line, which says `0 errors`.
fn report_line(text: &str) -> Result<String> {
    let last = text.lines().last().context("it said nothing")?;
    ensure!(last.ends_with(", 0 errors"), "{text}");
    Ok(last.to_owned())
}

type Step = Box<dyn Fn(&Lab) -> Result<String>>;

/// Something broken, and what must be said of it.
struct Fault {
    what: &'static str,
    /// Check, severity, node and a part of object or text.
    expect: [&'static str; 3],
    words: String,
    break_it: Step,
    /// Another tool shows that it is broken, by these words.
    shown: (Step, &'static str),
    mend: Step,
}

impl Fault {
    fn title(&self) -> String {
        let [check, severity, node] = self.expect;
        let place = if node.is_empty() { "the cluster" } else { node };
        format!("{}: {severity} {check} of {place}", self.what)
    }

    fn seen(&self, cluster: &Cluster) -> Result<String> {
        (self.break_it)(&cluster.lab)?;
        let (show, evidence) = &self.shown;
        let shown = show(&cluster.lab)?;
        ensure!(
            shown.contains(evidence),
            "the fault took no effect: {shown}"
        );
        let finding = wait_until(self.what, LIMIT, || {
            let findings = findings(cluster)?;
            Ok(match findings.iter().find(|f| self.is(f)) {
                Some(finding) => Seen::Holds(finding.clone()),
                None => Seen::NotYet(wrong(&findings)),
            })
        })?;
        let remedy = finding["remedy"].as_str().unwrap_or_default();
        ensure!(!remedy.is_empty(), "no remedy: {finding}");
        if finding["severity"] == "error" {
            ensure!(cluster.ctl(&["doctor"]).is_err(), "the exit code is 0");
        }
        let text = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        Ok(format!(
            "{} ({}); {} -> {remedy}",
            text("what"),
            text("object"),
            shown.trim()
        ))
    }

    fn mended(&self, cluster: &Cluster) -> Result<String> {
        (self.mend)(&cluster.lab)?;
        wait_until("nothing is said of it", LIMIT, || {
            let findings = findings(cluster)?;
            let still = findings.iter().any(|f| self.is(f));
            let errors = findings.iter().any(|f| f["severity"] == "error");
            Ok(if still || errors {
                Seen::NotYet(wrong(&findings))
            } else {
                Seen::Holds("not in the list any more".to_owned())
            })
        })
    }

    fn is(&self, finding: &Value) -> bool {
        let [check, severity, node] = self.expect;
        let text = format!("{} {}", finding["object"], finding["what"]);
        finding["check"] == check
            && finding["severity"] == severity
            && finding["node"] == node
            && text.contains(&self.words)
    }
}

/// Everything found. With errors the exit code is 1, and the output is there all the same.
fn findings(cluster: &Cluster) -> Result<Vec<Value>> {
    let json = cluster.ctl_output(&["doctor", "-o", "json"])?;
    let json: Value = serde_json::from_str(&json).with_context(|| format!("no JSON: {json}"))?;
    Ok(json["findings"].as_array().context("no findings")?.clone())
}

fn wrong(findings: &[Value]) -> String {
    let bad = findings.iter().filter(|f| f["severity"] != "ok");
    bad.map(|f| {
        format!(
            "{} {} {}: {}",
            f["check"], f["node"], f["object"], f["what"]
        )
    })
    .collect::<Vec<_>>()
    .join("; ")
}

fn faults(cluster: &Cluster) -> Result<Vec<Fault>> {
    let uplink = uplink(&cluster.lab)?;
    Ok(vec![
        reverse_path(&cluster.lab, &uplink)?,
        foreign_chain(),
        small_mtu(&uplink),
        wrong_as(cluster)?,
        overlap(),
        router_id(),
        port_taken(),
        nowhere(),
        unselected(&cluster.lab)?,
    ])
}

/// Runs in a place.
fn at(place: &'static str, argv: &str) -> Step {
    let argv: Vec<String> = argv.split(' ').map(str::to_owned).collect();
    Box::new(move |lab| lab.exec(place, &argv.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Runs kubectl.
fn kubectl(arguments: &[&str]) -> Step {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    Box::new(move |lab| lab.kubectl(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// n1's link to its router.
fn uplink(lab: &Lab) -> Result<String> {
    let gateway = lab.racks()[0].gateway.primary().to_string();
    let route: Value =
        serde_json::from_str(&lab.exec("n1", &["ip", "-j", "route", "get", &gateway])?)?;
    let link = route[0]["dev"]
        .as_str()
        .context("n1 has no way to its router")?;
    Ok(link.to_owned())
}

fn reverse_path(lab: &Lab, uplink: &str) -> Result<Fault> {
    let key = format!("net.ipv4.conf.{uplink}.rp_filter");
    let before = lab.exec("n1", &["sysctl", "-n", &key])?;
    Ok(Fault {
        what: "strict rp_filter on an uplink",
        expect: ["reverse-path", "warning", "n1"],
        words: uplink.to_owned(),
        break_it: at("n1", &format!("sysctl -w {key}=1")),
        shown: (at("n1", &format!("sysctl {key}")), "= 1"),
        mend: at("n1", &format!("sysctl -w {key}={}", before.trim())),
    })
}

/// Of another family than ours, and after it.
fn foreign_chain() -> Fault {
    Fault {
        what: "a foreign chain that drops",
        expect: ["foreign-drop", "error", "n1"],
        words: "chain ip scenario wall".to_owned(),
        break_it: Box::new(|lab| {
            lab.exec("n1", &["nft", "add table ip scenario; add chain ip scenario wall { type filter hook forward priority 10; policy drop; }"])
        }),
        shown: (at("n1", "nft list chain ip scenario wall"), "policy drop"),
        mend: at("n1", "nft delete table ip scenario"),
    }
}

fn small_mtu(uplink: &str) -> Fault {
    Fault {
        what: "a smaller MTU on one uplink",
        expect: ["mtu", "warning", "n1"],
        words: "1400".to_owned(),
        break_it: at("n1", &format!("ip link set {uplink} mtu 1400")),
        shown: (at("n1", &format!("ip -o link show {uplink}")), "mtu 1400"),
        mend: at("n1", &format!("ip link set {uplink} mtu 1500")),
    }
}

fn wrong_as(cluster: &Cluster) -> Result<Fault> {
    let rack = cluster.lab.racks().last().context("no rack")?;
    let (name, right) = (format!("rack{}-tor", rack.number), rack.asn);
    let object = format!("bgppeer/{name}");
    let patch = |asn: u32| {
        let body = format!("{{\"spec\": {{\"remoteAS\": {asn}}}}}");
        kubectl(&["patch", &object, "--type=merge", "-p", &body])
    };
    Ok(Fault {
        what: "a session with a wrong AS",
        expect: ["session", "error", "n3"],
        words: "65998".to_owned(),
        break_it: patch(65_998),
        shown: (
            kubectl(&["get", &object, "-o", "jsonpath={.spec.remoteAS}"]),
            "65998",
        ),
        mend: patch(right),
    })
}

fn overlap() -> Fault {
    const POOL: &str = "
apiVersion: margay.dev/v1alpha1
kind: IPPool
metadata: {name: doctor-overlap}
spec: {cidr: 10.244.64.0/18}
";
    Fault {
        what: "a pool that overlaps",
        expect: ["pool", "error", ""],
        words: "IPPool/doctor-overlap".to_owned(),
        break_it: Box::new(|lab| lab.apply(POOL)),
        shown: (
            kubectl(&["get", "ippool", "doctor-overlap", "--no-headers"]),
            "10.244.64.0/18",
        ),
        mend: kubectl(&["delete", "ippool", "doctor-overlap"]),
    }
}

/// n1 takes n2's router id, which is of the same AS; in another one it may (RFC 6286).
fn router_id() -> Fault {
    const CONFIG: &str = "
apiVersion: margay.dev/v1alpha1
kind: NodeConfig
metadata: {name: a-doctor}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/hostname: n1}}
  routerID: ";
    Fault {
        what: "a router id that another node has",
        expect: ["router-id", "error", "n1"],
        words: "n2".to_owned(),
        break_it: Box::new(|lab| {
            let id = lab.kubectl(&["get", "bgpnode", "n2", "-o", "jsonpath={.spec.routerID}"])?;
            lab.apply(&format!("{CONFIG}{id}\n"))
        }),
        shown: (
            kubectl(&[
                "get",
                "nodeconfig",
                "a-doctor",
                "-o",
                "jsonpath={.spec.routerID}",
            ]),
            "172.31.",
        ),
        mend: kubectl(&["delete", "nodeconfig", "a-doctor"]),
    }
}

/// Somebody takes the port in the moment in which a killed agent lets go of it. Sessions that the next agent opens itself come back.
fn port_taken() -> Fault {
    let held: Rc<RefCell<Option<TcpListener>>> = Rc::default();
    let released = held.clone();
    Fault {
        what: "the BGP port taken by another program",
        expect: ["bgp-port", "error", "n1"],
        words: "port 179 is in use".to_owned(),
        break_it: Box::new(move |lab| {
            let namespace = lab.netns("n1")?;
            let taking = thread::spawn(move || take_port(&namespace));
            lab.kill("n1", "margay-agent", "KILL")?;
            let listener = taking
                .join()
                .map_err(|_| anyhow!("the thread panicked"))??;
            held.replace(Some(listener));
            Ok(String::new())
        }),
        shown: (at("n1", "ss -Hltnp sport = :179"), "scenario"),
        mend: Box::new(move |_| {
            released.take();
            Ok(String::new())
        }),
    }
}

/// No address of n1 is in the only network that it shall listen in.
fn nowhere() -> Fault {
    const CONFIG: &str = "
apiVersion: margay.dev/v1alpha1
kind: NodeConfig
metadata: {name: a-doctor}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/hostname: n1}}
  listen: {addresses: [198.51.100.0/24]}
";
    Fault {
        what: "a speaker that listens nowhere",
        expect: ["bgp-port", "error", "n1"],
        words: "listen.addresses".to_owned(),
        break_it: Box::new(|lab| lab.apply(CONFIG)),
        shown: (
            Box::new(|lab| {
                wait_until("no listener", LIMIT, || {
                    let listeners = lab.exec("n1", &["ss", "-Hltn", "sport", "=", ":179"])?;
                    Ok(if listeners.is_empty() {
                        Seen::Holds("ss shows no listener".to_owned())
                    } else {
                        Seen::NotYet(listeners)
                    })
                })
            }),
            "no listener",
        ),
        mend: kubectl(&["delete", "nodeconfig", "a-doctor"]),
    }
}

/// n3 loses the label by which its rack's router is its peer.
fn unselected(lab: &Lab) -> Result<Fault> {
    const KEY: &str = margay_lab::plan::RACK_LABEL;
    let value = format!("jsonpath={{.metadata.labels.{}}}", KEY.replace('.', "\\."));
    let rack = lab.kubectl(&["get", "node", "n3", "-o", &value])?;
    ensure!(!rack.is_empty(), "n3 has no label {KEY}");
    let without = format!(
        "jsonpath=its rack is [{{.metadata.labels.{}}}]",
        KEY.replace('.', "\\.")
    );
    Ok(Fault {
        what: "a node that no BGPPeer selects",
        expect: ["session", "error", "n3"],
        words: "it has no session".to_owned(),
        break_it: kubectl(&["label", "node", "n3", &format!("{KEY}-")]),
        shown: (kubectl(&["get", "node", "n3", "-o", &without]), "[]"),
        mend: kubectl(&["label", "node", "n3", &format!("{KEY}={rack}")]),
    })
}

/// Tries again until the port is free: a socket belongs to the namespace in which it was made.
fn take_port(namespace: &File) -> Result<TcpListener> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        match TcpListener::bind(("::", 179)) {
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::yield_now(),
            Ok(listener) => return Ok(listener),
        }
    }
}
