//! BFD beside a session, against BIRD and FRR of the distribution: up on both sides by their own word, a path that is lost without a word
//! ends the session within a second, and a peer that switches BFD off ends nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use margay_bgp::bfd::{Parameters, Path, State};
use margay_bgp::{Asn, PeerConfig, RemoteAs};

use crate::net::{Net, Process, require};
use crate::ours::{self, Ours};
use crate::{established, until};

/// From the fault to the end of our session: 3 × 300 ms, and more on a busy machine, but never the hold time.
const LOSS: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    V4,
    V6,
}

impl Transport {
    const fn ours(self) -> &'static str {
        match self {
            Self::V4 => "10.99.0.2",
            Self::V6 => "fd99::2",
        }
    }

    const fn theirs(self) -> &'static str {
        match self {
            Self::V4 => "10.99.0.1",
            Self::V6 => "fd99::1",
        }
    }
}

/// A router with BFD, asked by its own command line.
trait Detector {
    fn net(&self) -> &Net;
    /// Whether it says that the BFD session with us is up.
    fn bfd_up(&self) -> bool;
    /// What it shows of BFD, for a person.
    fn shown(&self) -> String;
}

struct Bird {
    net: Net,
    transport: Transport,
    _process: Process,
}

impl Bird {
    fn start(transport: Transport, path: Path) -> Self {
        require("bird", "bird2");
        let net = Net::new();
        let kind = match path {
            Path::SingleHop => "direct",
            Path::Multihop { .. } => "multihop",
        };
        let (ours, theirs) = (transport.ours(), transport.theirs());
        let options =
            "min rx interval 300 ms; min tx interval 300 ms; idle tx interval 1 s; multiplier 3;";
        let configuration = format!(
            "log stderr all;
            router id 10.99.0.1;
            protocol device {{ scan time 1; }}
            protocol bfd {{ interface \"*\" {{ {options} }}; multihop {{ {options} }}; }}
            protocol bgp margay {{
                {kind};
                local {theirs} as 65001;
                neighbor {ours} as 4200000010;
                hold time 90; connect delay time 1; connect retry time 1; error wait time 1, 2;
                bfd on;
                ipv4 {{ import all; export none; }};
                ipv6 {{ import all; export none; }};
            }}"
        );
        std::fs::write(net.folder.join("bird.conf"), configuration).unwrap();
        let path = |name: &str| net.folder.join(name).display().to_string();
        let arguments =
            ["-f", "-c", &path("bird.conf"), "-s", &path("bird.ctl")].map(str::to_owned);
        let log = net.folder.join("bird.log");
        let process = net.router.daemon("bird", &arguments, &log);
        let bird = Self {
            net,
            transport,
            _process: process,
        };
        until("birdc answers", || {
            bird.birdc("show status")
                .contains("up and running")
                .then_some(())
        });
        bird
    }

    fn birdc(&self, command: &str) -> String {
        let mut birdc = Command::new("birdc");
        birdc
            .arg("-s")
            .arg(self.net.folder.join("bird.ctl"))
            .args(command.split(' '));
        String::from_utf8_lossy(&birdc.output().unwrap().stdout).into_owned()
    }
}

impl Detector for Bird {
    fn net(&self) -> &Net {
        &self.net
    }

    fn bfd_up(&self) -> bool {
        let shown = self.shown();
        let mut lines = shown.lines();
        lines.any(|line| line.starts_with(self.transport.ours()) && line.contains(" Up "))
    }

    fn shown(&self) -> String {
        self.birdc("show bfd sessions")
    }
}

struct Frr {
    net: Net,
    transport: Transport,
    path: Path,
    _processes: Vec<Process>,
}

impl Frr {
    fn start(transport: Transport, path: Path) -> Self {
        require("bfdd", "frr");
        require("bgpd", "frr");
        let net = Net::new();
        let (ours, theirs) = (transport.ours(), transport.theirs());
        let multihop = match path {
            Path::SingleHop => "",
            Path::Multihop { .. } => " multihop",
        };
        let bfdd = format!(
            "bfd
 peer {ours}{multihop} local-address {theirs}{interface}
  receive-interval 300
  transmit-interval 300
  detect-multiplier 3
  no shutdown
",
            interface = if multihop.is_empty() {
                " interface up0"
            } else {
                ""
            },
        );
        let bgpd = format!(
            "router bgp 65001
 bgp router-id 10.99.0.1
 no bgp ebgp-requires-policy
 neighbor {ours} remote-as 4200000010
 neighbor {ours} timers 30 90
 neighbor {ours} timers connect 1
 neighbor {ours} disable-connected-check
"
        );
        std::fs::write(net.folder.join("bfdd.conf"), bfdd).unwrap();
        std::fs::write(net.folder.join("bgpd.conf"), bgpd).unwrap();
        std::fs::write(net.folder.join("zebra.conf"), "").unwrap();
        // Two of the three insist on being their own user.
        let given = Command::new("chown")
            .arg("frr:frr")
            .arg(&net.folder)
            .status();
        assert!(given.unwrap().success());
        let mut frr = Self {
            net,
            transport,
            path,
            _processes: Vec::new(),
        };
        // bfdd learns the interfaces from zebra.
        for daemon in ["zebra", "bfdd", "bgpd"] {
            let process = frr.daemon(daemon);
            frr._processes.push(process);
            until(&format!("{daemon} answers"), || {
                frr.vtysh(daemon, "show version")
                    .contains("FRRouting")
                    .then_some(())
            });
        }
        frr
    }

    fn daemon(&self, name: &str) -> Process {
        let path = |file: &str| self.net.folder.join(file).display().to_string();
        let mut arguments: Vec<String> = [
            "--log",
            "stdout",
            "--vty_port",
            "0",
            "--config_file",
            &path(&format!("{name}.conf")),
            "--pid_file",
            &path(&format!("{name}.pid")),
            "--vty_socket",
            &self.net.folder.display().to_string(),
            "--socket",
            &path("zserv.api"),
        ]
        .map(str::to_owned)
        .into();
        match name {
            "bfdd" => arguments.extend(["--bfdctl".to_owned(), path("bfdd.ctl")]),
            "bgpd" => arguments.push("--skip_runas".to_owned()),
            _ => {}
        }
        let log = self.net.folder.join(format!("{name}.log"));
        let program = format!("/usr/lib/frr/{name}");
        self.net.router.daemon(&program, &arguments, &log)
    }

    fn vtysh(&self, daemon: &str, command: &str) -> String {
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(&self.net.folder);
        vtysh.args(["-d", daemon]);
        for line in command.lines() {
            vtysh.args(["-c", line]);
        }
        let output = vtysh.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text + &String::from_utf8_lossy(&output.stderr)
    }

    /// Such that we are told AdminDown. BIRD cannot: without its session it is silent.
    fn switch_off(&self) {
        let (ours, theirs) = (self.transport.ours(), self.transport.theirs());
        let place = match self.path {
            Path::SingleHop => format!("peer {ours} local-address {theirs} interface up0"),
            Path::Multihop { .. } => format!("peer {ours} multihop local-address {theirs}"),
        };
        let said = self.vtysh("bfdd", &format!("configure\nbfd\n{place}\nshutdown"));
        assert!(!said.contains('%'), "{said}");
        until("FRR says that it is shut down", || {
            self.shown().contains("Status: shutdown").then_some(())
        });
    }
}

impl Detector for Frr {
    fn net(&self) -> &Net {
        &self.net
    }

    fn bfd_up(&self) -> bool {
        self.shown().contains("Status: up")
    }

    fn shown(&self) -> String {
        self.vtysh("bfdd", "show bfd peers")
    }
}

fn start_ours(net: &Net, transport: Transport, path: Path) -> Ours {
    let mut desired = ours::desired();
    let peer = &mut desired.peers[0];
    *peer = PeerConfig {
        address: transport.theirs().parse().unwrap(),
        source: transport.ours().parse().ok(),
        remote_as: RemoteAs::Number(Asn(65001)),
        hold_time: 90,
        bfd: Some(Parameters {
            path,
            ..Parameters::default()
        }),
        ..peer.clone()
    };
    Ours::start(net, desired)
}

fn both_up(router: &impl Detector, ours: &Ours) {
    established(ours);
    until("our BFD session is up", || {
        (ours.session().bfd == Some(State::Up)).then_some(())
    });
    until("the router says that its BFD session is up", || {
        router.bfd_up().then_some(())
    });
}

/// Packets of the router's that arrive with us, by the kernel's own count.
fn arrived(net: &Net) -> u64 {
    let text = net.ours.output("nft", &["list", "table", "inet", "fault"]);
    let (_, rest) = text.split_once("counter packets ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Nothing of the router's gets through any more, and nobody is told.
fn lose(router: &impl Detector) -> Instant {
    let net = router.net();
    net.ours.output("nft", &["add", "table", "inet", "fault"]);
    let chain = "{ type filter hook prerouting priority -300; policy accept; }";
    net.ours
        .output("nft", &["add", "chain", "inet", "fault", "in", chain]);
    let rule = ["add", "rule", "inet", "fault", "in", "iifname", "up0"];
    let began = Instant::now();
    net.ours
        .output("nft", &[&rule[..], &["counter", "drop"]].concat());
    began
}

fn a_lost_path_is_noticed(router: &impl Detector, transport: Transport, path: Path) {
    let ours = start_ours(router.net(), transport, path);
    both_up(router, &ours);
    let began = lose(router);
    let ended = until("our session ends", || {
        let session = ours.session();
        (session.state != margay_bgp::State::Established).then(Instant::now)
    });
    let took = ended - began;
    let session = ours.session();
    // The fault took effect: packets came and were dropped, and none got through, so that it was not a word of the router's.
    let dropped = arrived(router.net());
    tracing::info!(
        "{transport:?} {path:?}: the loss was noticed after {took:?}; {dropped} packets were dropped; {session:?}"
    );
    assert!(dropped >= 2, "{dropped}");
    assert!(
        session.reason.contains("control detection time expired"),
        "{session:?}"
    );
    assert!(took <= LOSS, "{took:?}");
    router
        .net()
        .ours
        .output("nft", &["delete", "table", "inet", "fault"]);
    both_up(router, &ours);
}

fn switched_off_is_no_loss(router: &Frr, transport: Transport, path: Path) {
    let ours = start_ours(router.net(), transport, path);
    both_up(router, &ours);
    let before = ours.peers().peers[0].status.established_count;
    router.switch_off();
    until("our BFD session is not up any more", || {
        (ours.session().bfd != Some(State::Up)).then_some(())
    });
    let snapshot = ours.handle.bfd.borrow().clone();
    assert_eq!(snapshot.sessions[0].status.losses, 0, "{snapshot:?}");
    // Longer than a detection time, and longer than silence would have taken.
    let quiet = Instant::now() + Duration::from_secs(2);
    until("two seconds of peace", || {
        assert_eq!(ours.session().state, margay_bgp::State::Established);
        (Instant::now() > quiet).then_some(())
    });
    assert_eq!(ours.peers().peers[0].status.established_count, before);
}

/// What we do when we are to be restarted: the router's BGP session ends by its own connection, not by BFD.
fn we_take_leave(router: &impl Detector, transport: Transport, path: Path) {
    let ours = start_ours(router.net(), transport, path);
    both_up(router, &ours);
    drop(ours);
    until("the router's BFD session is not up any more", || {
        (!router.bfd_up()).then_some(())
    });
}

const FAR: Path = Path::Multihop { minimum_ttl: 250 };
/// BIRD sends to several hops with the system's usual TTL.
const FAR_FROM_BIRD: Path = Path::Multihop { minimum_ttl: 60 };

#[test]
fn bfd_bird_notices_and_is_noticed() {
    for transport in [Transport::V4, Transport::V6] {
        let bird = Bird::start(transport, Path::SingleHop);
        a_lost_path_is_noticed(&bird, transport, Path::SingleHop);
    }
}

#[test]
fn bfd_bird_over_several_hops() {
    for transport in [Transport::V4, Transport::V6] {
        let bird = Bird::start(transport, FAR_FROM_BIRD);
        a_lost_path_is_noticed(&bird, transport, FAR_FROM_BIRD);
    }
}

#[test]
fn bfd_bird_hears_that_we_leave() {
    let bird = Bird::start(Transport::V4, Path::SingleHop);
    we_take_leave(&bird, Transport::V4, Path::SingleHop);
    let log = std::fs::read_to_string(bird.net.folder.join("bird.log")).unwrap();
    assert!(!log.contains("Neighbor lost (detection"), "{log}");
}

#[test]
fn bfd_frr_notices_and_is_noticed() {
    for transport in [Transport::V4, Transport::V6] {
        let frr = Frr::start(transport, Path::SingleHop);
        a_lost_path_is_noticed(&frr, transport, Path::SingleHop);
    }
}

#[test]
fn bfd_frr_over_several_hops() {
    for transport in [Transport::V4, Transport::V6] {
        a_lost_path_is_noticed(&Frr::start(transport, FAR), transport, FAR);
    }
}

#[test]
fn bfd_frr_switched_off_leaves_the_session_up() {
    for transport in [Transport::V4, Transport::V6] {
        let frr = Frr::start(transport, Path::SingleHop);
        switched_off_is_no_loss(&frr, transport, Path::SingleHop);
    }
}
