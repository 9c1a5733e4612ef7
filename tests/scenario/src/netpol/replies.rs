//! What belongs to a permitted flow passes, what belongs to none does not: replies, ICMP errors, fragments, echo, invalid packets.

use super::{arena::Arena, paths::Path, updates::one};
use crate::{
    cluster::{FAMILIES, family},
    matrix::{Protocol, inside},
    report::Report,
};
use anyhow::{Result, bail, ensure};
use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

/// Nobody serves it.
const UNSERVED: u16 = 7999;
const PATIENCE: Duration = Duration::from_millis(300);

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    replies(arena, report);
    fragments(arena, report);
    let healed = narrow(arena, report);
    echo(arena, report);
    invalid(arena, report);
    healed
}

/// Pods of y may ask x/a for UDP on two ports and TCP 80, and nobody may ask pods of y anything; x/a may ask nobody.
fn replies(arena: &mut Arena<'_>, report: &mut Report) {
    let policies = [
        one("y", &format!("{{podSelector: {{}}, policyTypes: [Ingress, Egress], egress: [{{to: [{{namespaceSelector: {{matchLabels: {{ns: x}}}}}}], ports: [{{protocol: UDP, port: {UNSERVED}}}, {{protocol: TCP, port: 80}}]}}]}}")),
        one("x", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}"),
    ]
    .concat();
    report.check("[80] replies pass: TCP of the kernel, from a pod that may not be asked to one that may not ask", || {
        let begin = Instant::now();
        arena.set(&policies)?;
        let mut paths = Vec::new();
        for v4 in FAMILIES {
            paths.push(Path::closed("y/a", arena.at("x/a", 81, v4)?, Protocol::Tcp));
            paths.push(Path::closed("x/a", arena.at("y/a", 80, v4)?, Protocol::Tcp));
        }
        let seen = arena.follow(begin, &paths)?;
        for v4 in FAMILIES {
            let to = arena.at("x/a", 80, v4)?;
            inside(arena.place("y/a")?.namespace(), move || TcpStream::connect_timeout(&to, PATIENCE * 3))?;
        }
        Ok(format!("connected; {seen}"))
    });
    report.check(
        "[80] an ICMP port unreachable passes back as related",
        || {
            for v4 in FAMILIES {
                let allowed = refused(arena, "y/a", arena.at("x/a", UNSERVED, v4)?)?;
                ensure!(allowed, "{}: no error came back", family(v4));
                let denied = refused(arena, "y/a", arena.at("x/a", UNSERVED - 1, v4)?)?;
                ensure!(
                    !denied,
                    "{}: an error came back though the flow is denied",
                    family(v4)
                );
            }
            Ok(
                "connection refused where the flow is permitted, silence where it is not"
                    .to_owned(),
            )
        },
    );
}

/// Whether a datagram's sender hears "port unreachable".
fn refused(arena: &Arena<'_>, from: &str, to: SocketAddr) -> Result<bool> {
    let source = SocketAddr::new(arena.address(from, to.is_ipv4())?, 0);
    inside(arena.place(from)?.namespace(), move || {
        let socket = UdpSocket::bind(source)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"hello")?;
        match socket.recv(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
            Ok(_) => Ok(false),
        }
    })
}

const UDP_80: &str =
    "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: UDP, port: 80}]}]}";

/// Later fragments have no ports; conntrack puts datagrams together first.
fn fragments(arena: &mut Arena<'_>, report: &mut Report) {
    report.check(
        "[80] fragments of a datagram follow the rule on its port",
        || {
            let begin = Instant::now();
            arena.set(&one("x", UDP_80))?;
            let mut paths = Vec::new();
            for v4 in FAMILIES {
                for from in ["y/a", "y/c", "y/b", "outside"] {
                    let [open, closed] = [80, 81].map(|port| arena.at("x/a", port, v4));
                    let open = Path::closed(from, open?, Protocol::Udp).lands("x/a", 80);
                    paths.push(open.padded(4000));
                    paths.push(Path::closed(from, closed?, Protocol::Udp).padded(4000));
                }
            }
            arena.follow(begin, &paths)
        },
    );
}

/// A router between the racks whose link takes 1400 bytes: without its "fragmentation needed" nothing arrives.
fn narrow(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    let lab = arena.cluster.lab.clone();
    let mtu = |mtu: &str| lab.exec("spine", &["ip", "link", "set", "tor2", "mtu", mtu]);
    report.check("[80] fragmentation needed, and packet too big, pass as related under default-deny", || {
        let begin = Instant::now();
        let policies = [
            one("x", "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{ports: [{protocol: UDP, port: 80}]}]}"),
            one("z", UDP_80),
        ];
        arena.set(&policies.concat())?;
        mtu("1400")?;
        let mut paths = Vec::new();
        for v4 in FAMILIES {
            let path = Path::closed("x/a", arena.at("z/a", 80, v4)?, Protocol::Udp);
            paths.push(path.lands("z/a", 80).padded(1430));
        }
        let seen = arena.follow(begin, &paths)?;
        for v4 in FAMILIES {
            let route = route(arena, "x/a", arena.address("z/a", v4)?)?;
            ensure!(route.contains("mtu 1400"), "the pod did not learn it: {route}");
        }
        Ok(format!("the pod learned 1400; {seen}"))
    });
    mtu("1500")?;
    for flag in ["-4", "-6"] {
        arena.run("x/a", &["ip", flag, "route", "flush", "cache"])?;
    }
    Ok(())
}

fn route(arena: &Arena<'_>, from: &str, to: IpAddr) -> Result<String> {
    let output = arena.run(from, &["ip", "route", "get", &to.to_string()])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// ICMP has no ports: a rule without ports lets it pass, one with ports does not.
fn echo(arena: &mut Arena<'_>, report: &mut Report) {
    for (what, ports, passes) in [
        ("[80] ICMP echo passes a rule without ports", "", true),
        (
            "[80] and does not pass a rule with ports",
            ", ports: [{protocol: TCP, port: 80}, {protocol: UDP}, {protocol: SCTP}]",
            false,
        ),
    ] {
        report.check(what, || {
            let begin = Instant::now();
            let spec = format!("{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{ns: 'y'}}}}}}]{ports}}}]}}");
            arena.set(&one("x", &spec))?;
            let mut paths = Vec::new();
            for v4 in FAMILIES {
                let [tcp, sctp] = [Protocol::Tcp, Protocol::Sctp].map(|protocol| {
                    let path = Path::closed("y/a", arena.at("x/a", 80, v4)?, protocol);
                    anyhow::Ok(path.lands("x/a", 80))
                });
                let other = Path::closed("y/a", arena.at("x/a", 81, v4)?, Protocol::Tcp);
                let other = if passes { other.lands("x/a", 81) } else { other };
                paths.extend([tcp?, sctp?, other]);
                paths.push(Path::closed("z/a", arena.at("x/a", 80, v4)?, Protocol::Tcp));
            }
            arena.follow(begin, &paths)?;
            for v4 in FAMILIES {
                let to = arena.address("x/a", v4)?;
                let echoed = pings(arena, "y/a", to)?;
                ensure!(echoed == passes, "{}: echo answered: {echoed}", family(v4));
                ensure!(!pings(arena, "z/a", to)?, "{}: z/a was answered", family(v4));
            }
            Ok("both families".to_owned())
        });
    }
}

fn pings(arena: &Arena<'_>, from: &str, to: IpAddr) -> Result<bool> {
    let to = to.to_string();
    let ping = ["ping", "-n", "-c", "1", "-W", "0.3", &to];
    match arena.run(from, &ping)?.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        code => bail!("ping ended with {code:?}"),
    }
}

/// What conntrack finds invalid is dropped at a pod link even where everything is open.
fn invalid(arena: &mut Arena<'_>, report: &mut Report) {
    report.check(
        "[80] TCP and SCTP with a wrong checksum are dropped, where no policy is",
        || {
            let begin = Instant::now();
            arena.set(&[])?;
            let mut paths = Vec::new();
            for v4 in FAMILIES {
                for (from, to) in [("y/a", "x/a"), ("y/c", "x/a")] {
                    for protocol in [Protocol::Tcp, Protocol::Sctp] {
                        let path = Path::closed(from, arena.at(to, 80, v4)?, protocol);
                        paths.push(path.clone().damaged());
                        paths.push(path.lands(to, 80));
                    }
                }
            }
            arena.follow(begin, &paths)
        },
    );
    report.check(
        "[46] conntrack follows the crafted SCTP: COOKIE_WAIT after INIT and INIT ACK",
        || {
            let lab = &arena.cluster.lab;
            let mut seen = Vec::new();
            for (v4, name) in [(true, "ipv4"), (false, "ipv6")] {
                let to = arena.address("x/a", v4)?.to_string();
                let list = ["conntrack", "-L", "-f", name, "-p", "sctp", "-d", &to];
                let list = lab.exec("n1", &list)?;
                let entry = list
                    .lines()
                    .find(|line| line.contains("COOKIE_WAIT") && line.contains("dport=80"));
                let Some(entry) = entry else {
                    bail!("{name}: no such entry among: {list}")
                };
                ensure!(
                    !entry.contains("UNREPLIED"),
                    "{name}: no reply was seen: {entry}"
                );
                seen.push(name);
            }
            Ok(seen.join(" and "))
        },
    );
}
