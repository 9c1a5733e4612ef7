//! The generated cases of Cyclonus (50 to 59): 3 namespaces × 3 pods and two other places, ports 80 and 81, TCP, UDP and SCTP, both
//! families, the whole truth table of each.

use serde_json::{Value, json};

use crate::cluster::{
    OTHER_NODE, OUTSIDE, PROTOCOLS, Place, Probe, Probes, SCTP, TCP, place, with_expression,
    with_label,
};
use crate::stated::{
    Fits, Peer, Port, Rule, Stated, WAYS, Way, on_a, prove_stated, prove_stated_by,
};

/// 53, 54, 58: every peer there is, in a policy of namespace x.
fn peers() -> Vec<Peer> {
    let pods: [Option<Selector>; 3] = [
        None,
        Some((json!({}), |_| true)),
        Some((with_label("pod", "b"), |at| at.pod == "b")),
    ];
    let namespaces: [Option<Selector>; 4] = [
        None,
        Some((json!({}), |_| true)),
        Some((with_label("ns", "y"), |at| at.namespace == "y")),
        Some((with_label("kubernetes.io/metadata.name", "z"), |at| {
            at.namespace == "z"
        })),
    ];
    let mut peers = Vec::new();
    for pod in &pods {
        for namespace in &namespaces {
            peers.extend(selected(pod.as_ref(), namespace.as_ref()));
        }
    }
    peers.extend(blocks());
    peers
}

type Selector = (Value, fn(&Place) -> bool);

/// A peer by selectors; none when neither is given.
fn selected(pod: Option<&Selector>, namespace: Option<&Selector>) -> Option<Peer> {
    let mut peer = json!({});
    if let Some((selector, _)) = pod {
        peer["podSelector"] = selector.clone();
    }
    if let Some((selector, _)) = namespace {
        peer["namespaceSelector"] = selector.clone();
    }
    if pod.is_none() && namespace.is_none() {
        return None;
    }
    let pod_fits = pod.map_or((|_: &Place| true) as fn(&Place) -> bool, |it| it.1);
    let in_x: fn(&Place) -> bool = |at| at.namespace == "x";
    let namespace_fits = namespace.map_or(in_x, |it| it.1);
    Some(Peer {
        json: peer,
        fits: Box::new(move |at| at.is_pod() && pod_fits(at) && namespace_fits(at)),
    })
}

/// The pods of namespace y by address, and all of them but one.
fn blocks() -> [Peer; 2] {
    let own = |at: &Place| at.namespace == "y";
    let but_b = |at: &Place| at.namespace == "y" && at.pod != "b";
    [block(&[], own), block(&[place("y", "b")], but_b)]
}

fn block(but: &[Place], fits: fn(&Place) -> bool) -> Peer {
    let except = |family: usize, length: &str| -> Vec<String> {
        let of = |at: &Place| format!("{}/{length}", at.addresses()[family]);
        but.iter().map(of).collect()
    };
    Peer {
        json: json!([
            { "ipBlock": { "cidr": "10.0.2.0/24", "except": except(0, "32") } },
            { "ipBlock": { "cidr": "fd00:0:0:2::/64", "except": except(1, "128") } },
        ]),
        fits: Box::new(fits),
    }
}

fn port(json: Value, fits: impl Fn(&Probe) -> bool + 'static) -> Port {
    Port {
        json,
        fits: Box::new(fits),
    }
}

/// 56, 57: every port there is.
fn ports() -> Vec<Port> {
    let mut ports = Vec::new();
    let named = PROTOCOLS.map(|(number, name)| (number, Some(name)));
    for (number, name) in [(TCP, None)].into_iter().chain(named) {
        let with = move |mut json: Value| {
            if let Some(name) = name {
                json["protocol"] = json!(name);
            }
            json
        };
        ports.push(port(with(json!({})), move |probe| probe.protocol == number));
        for at in [80, 81] {
            ports.push(port(with(json!({ "port": at })), move |probe| {
                probe.is(number, at)
            }));
        }
        for end in [80, 84] {
            let range = with(json!({ "port": 53, "endPort": end }));
            ports.push(port(range, move |probe| {
                probe.protocol == number && (53..=end).contains(&probe.port)
            }));
        }
    }
    for (number, name) in PROTOCOLS {
        for at in [80, 81] {
            let called = format!("serve-{at}-{}", name.to_lowercase());
            let json = json!({ "port": called, "protocol": name });
            ports.push(port(json, move |probe| {
                probe.to.is_pod() && probe.is(number, at)
            }));
        }
    }
    ports
}

fn rule<'a>(peers: &[&'a Peer], ports: &[&'a Port]) -> Rule<'a> {
    Rule {
        peers: peers.to_vec(),
        ports: ports.to_vec(),
    }
}

/// Pairs of a list, each with itself among them.
fn pairs<T>(all: &[T]) -> impl Iterator<Item = (&T, &T)> {
    let from = move |at: usize| all[at..].iter().map(move |two| (&all[at], two));
    (0..all.len()).flat_map(from)
}

#[test]
fn case_50_targets() {
    let by = |json: Value, fits: fn(&Place) -> bool| (json, Box::new(fits) as Fits<Place>);
    for namespace in ["x", "y", "default"] {
        let targets = [
            by(json!({}), |_| true),
            by(with_label("pod", "a"), |at| at.pod == "a"),
            by(with_label("pod", "none"), |_| false),
            by(with_expression("pod", "In", &["a", "b"]), |at| {
                at.pod != "c"
            }),
            by(with_expression("pod", "NotIn", &["a"]), |at| at.pod != "a"),
            by(with_expression("pod", "Exists", &[]), |_| true),
            by(with_expression("pod", "DoesNotExist", &[]), |_| false),
            by(with_expression("absent", "NotIn", &["a"]), |_| true),
        ];
        for subjects in targets {
            let mut stated = on_a(Way::Ingress, Vec::new());
            (stated.namespace, stated.subjects) = (namespace, subjects);
            prove_stated(&[stated]);
        }
    }
}

#[test]
fn case_51_52_deny_all_and_allow_all_each_way() {
    for way in WAYS {
        prove_stated(&[on_a(way, Vec::new())]);
        // No peers and no ports: anybody, anywhere.
        prove_stated(&[on_a(way, vec![Rule::default()])]);
    }
    prove_stated(&[
        on_a(Way::Ingress, vec![Rule::default()]),
        on_a(Way::Egress, Vec::new()),
    ]);
}

#[test]
fn case_53_54_58_every_peer() {
    let (peers, ports) = (peers(), ports());
    assert_eq!(peers.len(), 13);
    let at_80 = &ports[1];
    for way in WAYS {
        for peer in &peers {
            prove_stated(&[on_a(way, vec![rule(&[peer], &[])])]);
            prove_stated(&[on_a(way, vec![rule(&[peer], &[at_80])])]);
        }
    }
}

#[test]
fn case_55_every_two_peers() {
    let peers = peers();
    let probes = Probes {
        ports: vec![80],
        ..Probes::default()
    };
    for way in WAYS {
        for (one, two) in pairs(&peers) {
            prove_stated_by(&probes, &[on_a(way, vec![rule(&[one, two], &[])])]);
        }
    }
}

/// Few places, for cases that are about ports.
fn about_ports() -> Probes {
    Probes {
        places: vec![place("x", "a"), place("y", "b"), OUTSIDE],
        ports: vec![52, 53, 80, 81, 84, 85],
    }
}

#[test]
fn case_56_every_port_and_every_two() {
    let ports = ports();
    assert_eq!(ports.len(), 26);
    let probes = about_ports();
    for way in WAYS {
        for (one, two) in pairs(&ports) {
            prove_stated_by(&probes, &[on_a(way, vec![rule(&[], &[one, two])])]);
        }
    }
}

#[test]
fn case_56_ports_with_peers_and_more_ports_than_plain_rules_hold() {
    let (peers, ports) = (peers(), ports());
    let all: Vec<_> = ports.iter().collect();
    let probes = Probes {
        places: vec![
            place("x", "a"),
            place("x", "b"),
            place("y", "b"),
            OTHER_NODE,
        ],
        ..about_ports()
    };
    for way in WAYS {
        for peer in &peers {
            for port in &ports {
                prove_stated_by(&probes, &[on_a(way, vec![rule(&[peer], &[port])])]);
            }
            // All single ports at once go through one lookup.
            let singles = [all[1], all[2], all[11], all[12], all[16], all[17]];
            prove_stated_by(&probes, &[on_a(way, vec![rule(&[peer], &singles)])]);
        }
        prove_stated(&[on_a(way, vec![rule(&[], &all)])]);
    }
}

#[test]
fn case_57_names_and_numbers_that_nobody_serves() {
    let pathological = [
        port(json!({ "port": "serve-80-tcp", "protocol": "UDP" }), |_| {
            false
        }),
        port(json!({ "port": "serve-80-udp" }), |_| false),
        port(json!({ "port": "serve-79-tcp" }), |_| false),
        port(json!({ "port": 79 }), |probe| probe.is(TCP, 79)),
        port(json!({ "port": 79, "protocol": "SCTP" }), |probe| {
            probe.is(SCTP, 79)
        }),
    ];
    let probes = Probes {
        ports: vec![79, 80],
        ..about_ports()
    };
    for way in WAYS {
        for (one, two) in pairs(&pathological) {
            prove_stated_by(&probes, &[on_a(way, vec![rule(&[], &[one, two])])]);
        }
    }
}

#[test]
fn case_59_denies_and_allows_that_meet() {
    let all_peers = peers();
    // By label, by address, everybody of the cluster, and no rule at all.
    let chosen = [
        Some(&all_peers[2]),
        Some(&all_peers[11]),
        Some(&all_peers[0]),
        None,
    ];
    for deny_at in WAYS {
        for allow_at in WAYS {
            for peer in chosen {
                let allowed = peer.map(|peer| rule(&[peer], &[]));
                let deny = on_a(deny_at, Vec::new());
                let allow = on_a(allow_at, allowed.into_iter().collect());
                prove_stated(&[deny, allow]);
            }
        }
    }
    // The same from the two ends of one flow: the server lets y/a come, whom its own policy does not let go, and the other way.
    for (at_server, at_client) in [
        (Vec::new(), vec![Rule::default()]),
        (vec![Rule::default()], Vec::new()),
    ] {
        let client = Stated {
            namespace: "y",
            ..on_a(Way::Egress, at_client)
        };
        prove_stated(&[on_a(Way::Ingress, at_server), client]);
    }
}
