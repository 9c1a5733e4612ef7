//! CoreDNS by its Service under load, from several pods at once: A and AAAA from one socket, as resolvers ask.
//!
//! Two first packets of one flow at the same moment are the known race of conntrack with DNAT: each may be given a backend
//! of its own. So there are two backends here, and the two questions of a pair leave from two threads at once.

use super::stage::Stage;
use crate::{
    cluster::family,
    dns::{answer, question},
    report::Report,
    sockets::{udp, udp_ask, within},
};
use anyhow::{Context, Result, anyhow, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Barrier,
    thread::{self, sleep},
    time::{Duration, Instant},
};

const CLIENTS: [&str; 6] = ["a1", "a2", "b", "c", "x1", "x3"];
/// Each of two questions, by each client and each family of the server's address.
const PAIRS: u16 = 100;
/// Time between the pairs of one client and family: 12 of them make 800 questions a second.
const INTERVAL: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(2);
/// The patience of a pair, in slices: when the whole machine stands still, answers that came meanwhile are read before it is over.
const SLICE: Duration = Duration::from_millis(100);
const SLICES: usize = 20;
const NAME: &str = "one.services.svc.cluster.local.";

pub(super) fn prove(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    for v4 in stage.families() {
        report.check(
            &format!("{} headless Service by name: its pods", family(v4)),
            || headless(stage, v4),
        );
    }
    scale(stage.lab(), 2)?;
    for how in [Pair::InTurn, Pair::AtOnce] {
        report.check(
            &format!("DNS under load, two servers, {}", how.words()),
            || load(stage, how),
        );
    }
    scale(stage.lab(), 1)
}

/// How the two questions of a pair leave their socket.
#[derive(Clone, Copy, Debug)]
enum Pair {
    InTurn,
    AtOnce,
}

impl Pair {
    fn words(self) -> &'static str {
        match self {
            Self::InTurn => "A and AAAA from one socket one after the other",
            Self::AtOnce => "A and AAAA from one socket at the same moment",
        }
    }
}

fn server(stage: &Stage<'_>, v4: bool) -> Result<SocketAddr> {
    let all = stage.lab().plan().dns_service();
    let addresses = all.iter().filter_map(|a| a.parse::<IpAddr>().ok());
    let found = addresses.into_iter().find(|a| a.is_ipv4() == v4);
    Ok(SocketAddr::new(found.context("no such family")?, 53))
}

/// The name has no address of its own but those of the pods.
fn headless(stage: &Stage<'_>, v4: bool) -> Result<String> {
    let mut wanted = BTreeSet::new();
    for pod in ["x1", "x3"] {
        wanted.insert(stage.address(pod, v4)?);
    }
    let server = server(stage, v4)?;
    let ask = question(1, "headless.services.svc.cluster.local.", v4);
    wait_until("the answer", Duration::from_secs(10), || {
        let got = within(stage.net("b")?, || udp_ask(server, &ask, PATIENCE))?;
        let got: BTreeSet<IpAddr> = answer(&got)?.1.into_iter().collect();
        Ok(if got == wanted {
            Seen::Holds(format!("{server} answered {got:?}"))
        } else {
            Seen::NotYet(format!("{got:?}, not {wanted:?}"))
        })
    })
}

fn load(stage: &Stage<'_>, how: Pair) -> Result<String> {
    let before = clashes(stage.lab())?;
    let begin = Instant::now();
    let lost = thread::scope(|scope| -> Result<Vec<String>> {
        let mut streams = Vec::new();
        for client in CLIENTS {
            for v4 in stage.families() {
                let (net, server) = (stage.net(client)?, server(stage, v4)?);
                let what = format!("{client} {}", family(v4));
                streams.push(scope.spawn(move || {
                    let lost = within(net, || stream(server, how))?;
                    Ok(lost.into_iter().map(move |l| format!("{what} {l}")))
                }));
            }
        }
        let mut lost = Vec::new();
        for stream in streams {
            let stream: Result<_> = stream.join().map_err(|_| anyhow!("a client panicked"))?;
            lost.extend(stream?);
        }
        Ok(lost)
    })?;
    let sent = CLIENTS.len() * stage.families().len() * usize::from(PAIRS) * 2;
    let seconds = begin.elapsed().as_secs_f64();
    let clashed = clashes(stage.lab())? - before;
    let seen = format!(
        "sent {sent} in {seconds:.1} s, answered {}, lost {}; conntrack refused {clashed} entries",
        sent - lost.len(),
        lost.len()
    );
    ensure!(lost.is_empty(), "{seen}: {}", lost.join(", "));
    Ok(seen)
}

/// Pairs of questions, each pair from a socket of its own; which were not answered.
fn stream(server: SocketAddr, how: Pair) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    let begin = Instant::now();
    for number in 0..PAIRS {
        let due = begin + INTERVAL * u32::from(number);
        sleep(due.saturating_duration_since(Instant::now()));
        let socket = udp(server, SLICE)?;
        let pair = [true, false].map(|v4| question(2 * number + u16::from(v4), NAME, v4));
        match how {
            Pair::InTurn => {
                for message in &pair {
                    socket.send(message)?;
                }
            }
            Pair::AtOnce => {
                let barrier = Barrier::new(pair.len());
                let send = |message: &Vec<u8>| {
                    barrier.wait();
                    socket.send(message)
                };
                thread::scope(|scope| -> Result<()> {
                    let other = scope.spawn(|| send(&pair[0]));
                    send(&pair[1])?;
                    other.join().map_err(|_| anyhow!("a sender panicked"))??;
                    Ok(())
                })?;
            }
        }
        let open = unanswered(&socket, number)?;
        lost.extend(
            open.into_iter()
                .map(|id| format!("question {id} of {}", 2 * PAIRS)),
        );
    }
    Ok(lost)
}

/// The questions of a pair that nothing answers.
fn unanswered(socket: &UdpSocket, pair: u16) -> Result<BTreeSet<u16>> {
    let mut open: BTreeSet<u16> = [2 * pair, 2 * pair + 1].into();
    let mut buffer = [0; 2048];
    let mut slices = 0;
    while !open.is_empty() && slices < SLICES {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let (id, addresses) = answer(&buffer[..length])?;
                ensure!(addresses.len() == 1, "{NAME} is {addresses:?}");
                open.remove(&id);
            }
            Err(_) => slices += 1,
        }
    }
    Ok(open)
}

/// How many entries conntrack has refused on all nodes, which is how a race shows where it costs a packet.
fn clashes(lab: &Lab) -> Result<u64> {
    let mut all = 0;
    for node in lab.nodes() {
        let counters = lab.exec(&node.name, &["conntrack", "-S"])?;
        let failed = counters
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("insert_failed="));
        all += failed.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(all)
}

/// Sets the number of CoreDNS pods, and waits until that many are endpoints and no more.
fn scale(lab: &Lab, replicas: usize) -> Result<()> {
    let count = format!("--replicas={replicas}");
    lab.kubectl(&["scale", "-n", "kube-system", "deployment/coredns", &count])?;
    wait_until("the CoreDNS pods", Duration::from_secs(40), || {
        let pods =
            lab.kubectl_json(&["get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns"])?;
        let slices = lab.kubectl_json(&[
            "get",
            "endpointslices",
            "-n",
            "kube-system",
            "-l",
            "kubernetes.io/service-name=kube-dns",
        ])?;
        let slices = slices["items"].as_array().cloned().unwrap_or_default();
        let ready = |slice: &serde_json::Value| {
            let all = slice["endpoints"].as_array().into_iter().flatten();
            all.filter(|e| e["conditions"]["ready"] == true).count()
        };
        let running = pods["items"].as_array().map_or(0, Vec::len);
        let ready: Vec<usize> = slices.iter().map(ready).collect();
        Ok(
            if running == replicas && ready.iter().all(|n| *n == replicas) {
                Seen::Holds(())
            } else {
                Seen::NotYet(format!("{running} pods, {ready:?} endpoints"))
            },
        )
    })
}
