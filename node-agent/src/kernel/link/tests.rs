use std::net::IpAddr;
use std::path::Path;

use margay_proto::names::{ROUTE_PROTOCOL, link_name};

use super::*;
use crate::kernel::sysctl;
use crate::kernel::testnet::{Namespace, ip, isolated, output};

fn pod(netns: &Path, n: u8) -> PodLink {
    let container = format!("container-{n}");
    PodLink {
        host_name: link_name(&container, "eth0"),
        netns: netns.to_owned(),
        ifname: "eth0".into(),
        mac: Mac::of(&container, "eth0"),
        mtu: 1450,
        addresses: vec![
            IpAddr::from([10, 244, 0, n]),
            IpAddr::from([0xfd00, 0x10, 0x244, 0, 0, 0, 0, u16::from(n)]),
        ],
        alias: format!("default/pod-{n}"),
        default_route: true,
    }
}

/// What the RouteSink does for a pod, here by hand.
fn route_to(link: &PodLink) {
    for address in &link.addresses {
        let node = if address.is_ipv4() {
            "172.31.0.11"
        } else {
            "fd31::11"
        };
        ip(&format!(
            "route add {address} dev {} src {node} proto {ROUTE_PROTOCOL}",
            link.host_name
        ));
    }
}

/// A namespace that is a node: forwards, and has an address.
fn node() {
    ip("address add 172.31.0.11/32 dev lo");
    ip("-6 address add fd31::11/128 dev lo nodad");
    let record = std::env::temp_dir().join(format!(
        "margay-link-test-{}-{}",
        std::process::id(),
        nix::unistd::gettid()
    ));
    sysctl::enable_forwarding(&record).unwrap();
    let _ = std::fs::remove_file(record);
}

#[test]
fn two_pods_reach_each_other_and_the_node_without_any_arp() {
    isolated(async || {
        node();
        let (one, two) = (Namespace::new(), Namespace::new());
        let links = [pod(one.path(), 5), pod(two.path(), 6)];
        for link in &links {
            let wire = create(link).await.unwrap();
            assert!(wire.made);
            assert_eq!(wire.netns.path, link.netns);
            route_to(link);
        }
        for (from, to) in [(&one, &links[1]), (&two, &links[0])] {
            for address in &to.addresses {
                let (ok, text) = from.run(&format!("ping -n -c 3 -i 0.01 -W 2 {address}"));
                assert!(ok, "{text}");
            }
        }
        for address in &links[0].addresses {
            let (ok, text) = output(&format!("ping -n -c 1 -W 2 {address}"));
            assert!(ok, "{text}");
        }
        for neighbours in [
            ip("neighbour show"),
            one.ip("neighbour show"),
            two.ip("neighbour show"),
        ] {
            let learned: Vec<&str> = neighbours
                .lines()
                .filter(|l| !l.contains("PERMANENT"))
                .collect();
            assert!(learned.is_empty(), "nothing was asked for: {learned:?}");
        }
        for link in &links {
            check(link).await.unwrap();
        }
        let mut aliases: Vec<_> = list()
            .await
            .unwrap()
            .into_iter()
            .filter_map(|l| l.alias)
            .collect();
        aliases.sort();
        assert_eq!(aliases, ["default/pod-5", "default/pod-6"]);
        assert!(delete(&links[0].host_name).await.unwrap());
        assert!(!delete(&links[0].host_name).await.unwrap(), "gone is fine");
        assert!(!one.ip("link show").contains("eth0"));
    });
}

#[test]
fn creating_twice_keeps_the_link_and_a_wrong_one_is_replaced() {
    isolated(async || {
        let namespace = Namespace::new();
        let mut link = pod(namespace.path(), 5);
        let first = create(&link).await.unwrap();
        let again = create(&link).await.unwrap();
        assert!(!again.made);
        assert_eq!(again.ifindex, first.ifindex);
        namespace.ip("route del default");
        let Err(Error::Mismatch(wrong)) = check(&link).await else {
            panic!("the default route is missing")
        };
        assert_eq!(wrong, ["eth0 lacks the default route via 169.254.1.1"]);
        assert!(create(&link).await.unwrap().made);
        check(&link).await.unwrap();
        link.addresses.remove(0);
        link.mtu = 1300;
        assert!(matches!(check(&link).await, Err(Error::Mismatch(wrong)) if wrong.len() == 2));
        assert!(create(&link).await.unwrap().made);
        check(&link).await.unwrap();
        assert_eq!(list().await.unwrap().len(), 1);
    });
}

#[test]
fn check_names_everything_that_is_wrong() {
    isolated(async || {
        let namespace = Namespace::new();
        let link = pod(namespace.path(), 5);
        assert!(
            check(&link)
                .await
                .unwrap_err()
                .to_string()
                .contains("is missing")
        );
        create(&link).await.unwrap();
        let host = &link.host_name;
        ip(&format!("neighbour del 10.244.0.5 dev {host}"));
        ip(&format!("link set {host} alias other"));
        namespace.ip("address del 10.244.0.5/32 dev eth0");
        namespace
            .ip("-6 neighbour replace fe80::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent");
        let text = check(&link).await.unwrap_err().to_string();
        for part in [
            "does not have the alias default/pod-5",
            "lacks the permanent neighbour 10.244.0.5",
            "eth0 lacks the address 10.244.0.5",
            "eth0 lacks the permanent neighbour fe80::1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    });
}

#[test]
fn an_interface_of_somebody_else_is_left_alone() {
    isolated(async || {
        let namespace = Namespace::new();
        namespace.ip("link add eth0 type bridge");
        let error = create(&pod(namespace.path(), 5)).await.unwrap_err();
        assert!(
            matches!(error, Error::Foreign(_)) && error.to_string().contains("eth0"),
            "{error}"
        );
        assert!(namespace.ip("-d link show eth0").contains("bridge"));
        assert!(list().await.unwrap().is_empty());
        assert!(matches!(delete("eth0").await, Err(Error::Foreign(_))));
    });
}

#[test]
fn a_host_half_that_was_renamed_or_moved_away_is_replaced() {
    isolated(async || {
        let (namespace, elsewhere) = (Namespace::new(), Namespace::new());
        let link = pod(namespace.path(), 5);
        create(&link).await.unwrap();
        ip(&format!("link set {} name stray", link.host_name));
        assert!(create(&link).await.unwrap().made);
        assert!(!output("ip link").1.contains("stray"));
        let path = elsewhere.path().display().to_string();
        let thread = path.split('/').nth(4).unwrap();
        ip(&format!("link set {} netns {thread}", link.host_name));
        assert!(create(&link).await.unwrap().made);
        check(&link).await.unwrap();
        assert!(!elsewhere.ip("link").contains(&link.host_name));
    });
}

#[test]
fn a_failed_step_leaves_nothing() {
    isolated(async || {
        let namespace = Namespace::new();
        let mut link = pod(namespace.path(), 5);
        // IPv6 needs 1280 octets: on a smaller link it does not exist.
        link.mtu = 1000;
        let error = create(&link).await.unwrap_err();
        assert!(
            !matches!(error, Error::Several { .. }),
            "undoing went well: {error}"
        );
        assert!(list().await.unwrap().is_empty());
        assert!(!namespace.ip("link show").contains("eth0"));
        // A veth with this name cannot be made at all.
        link = pod(namespace.path(), 5);
        link.ifname = "a/b".into();
        create(&link).await.unwrap_err();
        assert!(list().await.unwrap().is_empty());
    });
}

#[test]
fn pods_of_one_family_and_second_interfaces() {
    isolated(async || {
        node();
        let (v4, v6) = (Namespace::new(), Namespace::new());
        let mut link4 = pod(v4.path(), 5);
        link4.addresses.remove(1);
        let mut link6 = pod(v6.path(), 6);
        link6.addresses.remove(0);
        v6.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        for link in [&link4, &link6] {
            create(link).await.unwrap();
            check(link).await.unwrap();
            route_to(link);
            let (ok, text) = output(&format!("ping -n -c 1 -W 2 {}", link.addresses[0]));
            assert!(ok, "{text}");
        }
        assert!(v6.ip("-4 route show").is_empty());
        let mut second = pod(v4.path(), 7);
        second.ifname = "net1".into();
        second.default_route = false;
        create(&second).await.unwrap();
        check(&second).await.unwrap();
        check(&link4).await.unwrap();
        assert_eq!(v4.ip("route show default").lines().count(), 1);
        assert!(!v4.ip("-4 route show").contains("net1"));
        delete(&second.host_name).await.unwrap();
        check(&link4).await.unwrap();
    });
}
