//! BIRD 2.

use std::path::PathBuf;
use std::process::Command;

use crate::filters::filters_both_ways;
use crate::net::{Net, Process, require};
use crate::ours::{self, OUR_AS, Ours};
use crate::router::Router;
use crate::{
    THEIR_ROUTES, established, graceful_restart, refused_as, routes_go_both_ways, until, wrong_as,
};

pub(crate) struct Bird {
    pub(crate) net: Net,
    process: Option<Process>,
}

/// BIRD's address, and ours.
pub(crate) const V4: (&str, &str) = ("10.99.0.1", "10.99.0.2");
pub(crate) const V6: (&str, &str) = ("fd99::1", "fd99::2");

impl Bird {
    pub(crate) fn start(expected_as: u32) -> Self {
        Self::start_with(Net::new(), V4, expected_as, "")
    }

    /// Over one transport, with more lines in the protocol.
    pub(crate) fn start_with(
        net: Net,
        (local, neighbour): (&str, &str),
        expected_as: u32,
        more: &str,
    ) -> Self {
        require("bird", "bird2");
        let configuration = format!(
            "log stderr all;
            router id 10.99.0.1;
            protocol device {{ scan time 1; }}
            protocol static {{ ipv4; route 198.51.100.0/24 unreachable; }}
            protocol static {{ ipv6; route 2001:db8:100::/48 unreachable; }}
            protocol bgp margay {{
                local {local} as 65001;
                neighbor {neighbour} as {expected_as};
                {more}
                hold time 9; keepalive time 3; connect delay time 1; connect retry time 1; error wait time 1, 2;
                graceful restart on;
                ipv4 {{ import all; export where source = RTS_STATIC; next hop address 10.99.0.1; }};
                ipv6 {{ import all; export where source = RTS_STATIC; next hop address fd99::1; }};
            }}"
        );
        std::fs::write(net.folder.join("bird.conf"), configuration).unwrap();
        let mut bird = Self { net, process: None };
        bird.run();
        bird
    }

    fn run(&mut self) {
        let path = |name: &str| self.net.folder.join(name).display().to_string();
        let arguments =
            ["-f", "-c", &path("bird.conf"), "-s", &path("bird.ctl")].map(str::to_owned);
        self.process = Some(self.net.router.daemon(
            "bird",
            &arguments,
            &self.net.folder.join("bird.log"),
        ));
        until("birdc answers", || {
            self.birdc("show status")
                .contains("up and running")
                .then_some(())
        });
    }

    pub(crate) fn birdc(&self, command: &str) -> String {
        let socket: PathBuf = self.net.folder.join("bird.ctl");
        let output = Command::new("birdc")
            .args(["-r", "-s"])
            .arg(socket)
            .args(command.split(' '))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Router for Bird {
    fn net(&self) -> &Net {
        &self.net
    }

    fn established(&self) -> bool {
        self.birdc("show protocols margay").contains("Established")
    }

    fn route(&self, prefix: &str) -> Option<String> {
        let text = self.birdc(&format!("show route {prefix} protocol margay all"));
        text.contains(prefix).then_some(text)
    }

    fn is_stale(&self, route: &str) -> bool {
        // `[margay 11:22:33.444s]`: BIRD 2 marks routes of a restarting peer with an `s`.
        route
            .lines()
            .any(|line| line.contains("[margay ") && line.contains("s]"))
    }
}

#[test]
fn bird_both_families_over_one_session() {
    let bird = Bird::start(OUR_AS.0);
    let ours = Ours::start(&bird.net, ours::desired());
    routes_go_both_ways(&bird, &ours);
}

#[test]
fn bird_sees_what_filters_make_of_routes() {
    let bird = Bird::start(OUR_AS.0);
    let ours = Ours::start(&bird.net, ours::desired());
    filters_both_ways(&bird, &ours, "(65000,7)");
}

#[test]
fn bird_dials_a_passive_peer() {
    let bird = Bird::start(OUR_AS.0);
    let mut desired = ours::desired();
    desired.peers[0].passive = true;
    let ours = Ours::start(&bird.net, desired);
    routes_go_both_ways(&bird, &ours);
}

#[test]
fn bird_keeps_our_routes_while_we_restart() {
    let bird = Bird::start(OUR_AS.0);
    let ours = Ours::start(&bird.net, ours::desired());
    graceful_restart(&bird, ours);
}

#[test]
fn bird_of_another_as() {
    wrong_as(&Bird::start(OUR_AS.0));
}

#[test]
fn bird_expects_another_as() {
    let bird = Bird::start(64999);
    refused_as(&Ours::start(&bird.net, ours::desired()));
}

#[test]
fn bird_hears_the_cease_of_a_reset_and_comes_back() {
    let bird = Bird::start(OUR_AS.0);
    let ours = Ours::start(&bird.net, ours::desired());
    established(&ours);
    assert!(ours.reset());
    until("BIRD tells of our Cease", || {
        let log = std::fs::read_to_string(bird.net.folder.join("bird.log")).unwrap();
        log.contains("Administrative reset").then_some(())
    });
    routes_go_both_ways(&bird, &ours);
}

#[test]
fn bird_sees_withdrawals_and_new_routes() {
    let bird = Bird::start(OUR_AS.0);
    let ours = Ours::start(&bird.net, ours::desired());
    routes_go_both_ways(&bird, &ours);
    ours.desire(|desired| desired.originations[0].prefix = "10.244.0.64/26".parse().unwrap());
    until("new route", || bird.route("10.244.0.64/26").map(drop));
    until("withdrawal", || {
        bird.route("10.244.0.0/26").is_none().then_some(())
    });
    ours.desire(|desired| desired.peers.clear());
    until("peer removed", || (!bird.established()).then_some(()));
    until("their routes are forgotten", || {
        ours.handle.learned.borrow().is_empty().then_some(())
    });
}

#[test]
fn bird_killed_and_restarted_keeps_its_routes_here() {
    let mut bird = Bird::start(OUR_AS.0);
    let ours = Ours::start(&bird.net, ours::desired());
    routes_go_both_ways(&bird, &ours);
    bird.process = None;
    until("their routes are stale, and used", || {
        assert!(
            !ours.handle.learned.borrow().is_empty(),
            "routes of a peer that restarts are kept"
        );
        ours.stale_routes().eq(&THEIR_ROUTES.len()).then_some(())
    });
    bird.run();
    routes_go_both_ways(&bird, &ours);
    until("their routes are fresh", || {
        ours.stale_routes().eq(&0).then_some(())
    });
}

#[test]
fn a_new_identity_makes_a_new_session() {
    let bird = Bird::start(OUR_AS.0);
    let ours = Ours::start(&bird.net, {
        let mut desired = ours::desired();
        desired.identity.as_mut().unwrap().local_as = margay_bgp::Asn(64999);
        desired
    });
    refused_as(&ours);
    ours.desire(|desired| desired.identity.as_mut().unwrap().local_as = OUR_AS);
    routes_go_both_ways(&bird, &ours);
}
