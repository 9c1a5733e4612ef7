//! FRR's bgpd alone: without zebra it writes nothing to the kernel.

use std::process::Command;

use crate::filters::filters_both_ways;
use crate::net::{Net, Process, require};
use crate::ours::{self, OUR_AS, Ours};
use crate::router::Router;
use crate::{graceful_restart, refused_as, routes_go_both_ways, until, wrong_as};

pub(crate) struct Frr {
    pub(crate) net: Net,
    _process: Process,
}

impl Frr {
    fn start(expected_as: u32) -> Self {
        Self::start_with(expected_as, "")
    }

    /// With more lines about the neighbour.
    pub(crate) fn start_with(expected_as: u32, more: &str) -> Self {
        require("bgpd", "frr");
        require("vtysh", "frr");
        let net = Net::new();
        let configuration = format!(
            "frr defaults datacenter
router bgp 65001
 bgp router-id 10.99.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart restart-time 60
 bgp graceful-restart
 neighbor 10.99.0.2 remote-as {expected_as}
 neighbor 10.99.0.2 timers 3 9
 neighbor 10.99.0.2 timers connect 1
 {more}
 address-family ipv4 unicast
  network 198.51.100.0/24
  neighbor 10.99.0.2 activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:100::/48
  neighbor 10.99.0.2 activate
  neighbor 10.99.0.2 route-map next-hop out
 exit-address-family
route-map next-hop permit 10
 set ipv6 next-hop global fd99::1
"
        );
        let path = |name: &str| net.folder.join(name).display().to_string();
        std::fs::write(path("bgpd.conf"), configuration).unwrap();
        let arguments = [
            "--no_zebra",
            "--skip_runas",
            "--log",
            "stdout",
            "--log-level",
            "informational",
            "--vty_port",
            "0",
            "--config_file",
            &path("bgpd.conf"),
            "--pid_file",
            &path("bgpd.pid"),
            "--vty_socket",
            &net.folder.display().to_string(),
        ]
        .map(str::to_owned);
        let process = net.router.daemon(
            "/usr/lib/frr/bgpd",
            &arguments,
            &net.folder.join("bgpd.log"),
        );
        let frr = Self {
            net,
            _process: process,
        };
        until("vtysh answers", || {
            frr.vtysh("show bgp summary")
                .contains("10.99.0.2")
                .then_some(())
        });
        frr
    }

    pub(crate) fn vtysh(&self, command: &str) -> String {
        let mut vtysh = Command::new("vtysh");
        vtysh
            .arg("--vty_socket")
            .arg(&self.net.folder)
            .args(["-d", "bgpd", "-c", command]);
        String::from_utf8_lossy(&vtysh.output().unwrap().stdout).into_owned()
    }
}

impl Frr {
    /// Changes the running configuration.
    pub(crate) fn configure(&self, lines: &[&str]) {
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(&self.net.folder);
        vtysh.args(["-d", "bgpd", "-c", "configure terminal"]);
        for line in lines {
            vtysh.args(["-c", line]);
        }
        let output = vtysh.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.trim().is_empty(), "{text}");
    }
}

impl Router for Frr {
    fn net(&self) -> &Net {
        &self.net
    }

    fn established(&self) -> bool {
        self.vtysh("show bgp neighbors 10.99.0.2")
            .contains("BGP state = Established")
    }

    fn route(&self, prefix: &str) -> Option<String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let text = self.vtysh(&format!("show bgp {family} unicast {prefix}"));
        text.contains(&format!("routing table entry for {prefix}"))
            .then_some(text)
    }

    fn is_stale(&self, route: &str) -> bool {
        route.to_lowercase().contains("stale")
    }
}

#[test]
fn frr_both_families_over_one_session() {
    let frr = Frr::start(OUR_AS.0);
    let ours = Ours::start(&frr.net, ours::desired());
    routes_go_both_ways(&frr, &ours);
}

#[test]
fn frr_sees_what_filters_make_of_routes() {
    let frr = Frr::start(OUR_AS.0);
    let ours = Ours::start(&frr.net, ours::desired());
    filters_both_ways(&frr, &ours, "65000:7");
}

#[test]
fn frr_keeps_our_routes_while_we_restart() {
    let frr = Frr::start(OUR_AS.0);
    let ours = Ours::start(&frr.net, ours::desired());
    graceful_restart(&frr, ours);
}

#[test]
fn frr_of_another_as() {
    wrong_as(&Frr::start(OUR_AS.0));
}

#[test]
fn frr_expects_another_as() {
    let frr = Frr::start(64999);
    refused_as(&Ours::start(&frr.net, ours::desired()));
}
