use super::*;
use crate::kernel::testnet::{ip, isolated};

const FILE: &str = "router-id = \"192.0.2.1\"\nas = 65000\n[defaults]\nimport = \"all\"\nexport = \"own\"\nremote-as = 65001\n";

fn settings(peers: &str) -> Settings {
    format!("{FILE}{peers}").parse().unwrap()
}

fn locals(desired: &Desired) -> Vec<(Option<String>, Option<String>)> {
    let text = |local: &LocalAddresses| {
        (
            local.v4.map(|ip| ip.to_string()),
            local.v6.map(|ip| ip.to_string()),
        )
    };
    desired
        .peers
        .iter()
        .map(|peer| text(&peer.local_addresses))
        .collect()
}

#[test]
fn next_hops_of_both_families_are_those_of_the_link_to_the_peer() {
    isolated(async || {
        for n in 0..2 {
            ip(&format!("link add up{n} type veth peer name far{n}"));
            ip(&format!("link set up{n} up"));
            ip(&format!("link set far{n} up"));
            ip(&format!("address add 172.31.{n}.11/24 dev up{n}"));
            ip(&format!("-6 address add fd31:{n}::11/64 dev up{n} nodad"));
        }
        ip("address add 192.0.2.1/32 dev lo");
        let kernel = Underlay::open().unwrap().snapshot();
        let settings = settings(
            "[[peer]]\naddress = \"172.31.1.1\"\n[[peer]]\naddress = \"fd31:0::1\"\nnext-hop-ipv4 = \"192.0.2.1\"\n\
             [[peer]]\naddress = \"172.31.0.1\"\nsource = \"192.0.2.1\"\n[[peer]]\naddress = \"203.0.113.1\"\n",
        );
        let desired = desired(&settings, Restart::default(), &kernel, &BTreeSet::new());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            locals(&desired),
            [
                (some("172.31.1.11"), some("fd31:1::11")),
                (some("192.0.2.1"), some("fd31::11")),
                (some("192.0.2.1"), None),
                (None, None),
            ]
        );
    });
}

#[test]
fn only_a_transit_can_lose_what_peers_use() {
    let [own, transit] = [FILE.to_owned(), FILE.replace("\"own\"", "\"all\"")];
    let peer = "[[peer]]\naddress = \"192.0.2.2\"\n";
    let [own, transit]: [Settings; 2] = [own, transit].map(|text| (text + peer).parse().unwrap());
    let none = RouteSet::new();
    let v4 = RouteSet::from([(
        "10.0.0.0/8".parse().unwrap(),
        crate::kernel::route::Route {
            target: crate::kernel::route::Target::Unreachable,
            src: None,
        },
    )]);
    let bits = |settings: &Settings, left, adopted| {
        let restart = Restart::of(settings, left, adopted);
        (
            restart.restarting,
            restart.preserved.v4,
            restart.preserved.v6,
        )
    };
    assert_eq!(bits(&own, false, &none), (false, false, false));
    assert_eq!(bits(&own, true, &none), (true, true, true));
    assert_eq!(bits(&transit, true, &none), (true, false, false));
    assert_eq!(bits(&transit, false, &v4), (true, true, false));
}
