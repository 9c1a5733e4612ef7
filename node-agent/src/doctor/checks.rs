//! The checks: each looks at facts and says what is wrong and what to do, or that nothing is.

use super::facts::{Facts, of_link};
use margay_bgp::State;
use margay_proto::{names::LINK_PREFIX, rpc::agent::Finding};
use std::collections::BTreeMap;

/// Every check, in the order in which a person would look.
const CHECKS: [fn(&Facts) -> Vec<Finding>; 13] = [
    serving,
    watches,
    files,
    forwarding,
    foreign_drops,
    reverse_path,
    bgp_port,
    sessions,
    pod_mtu,
    connections,
    neighbours,
    multipath,
    kernel,
];

/// Full by this part, in percent, is worth a warning.
const NEARLY_FULL: u64 = 80;
/// The first kernel on which the policy table is protected from others (nftables flags `owner,persist`).
const OWNED_TABLES: (u32, u32) = (6, 9);

/// What all of them say. A check that finds nothing says `ok`, so that a reader sees that it was made.
pub(super) fn diagnose(facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(facts)).collect()
}

fn finding(check: &str, severity: &str, object: &str, [what, remedy]: [&str; 2]) -> Finding {
    Finding {
        check: check.to_owned(),
        severity: severity.to_owned(),
        object: object.to_owned(),
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// Those that were found, or that nothing was.
fn or_ok(found: Vec<Finding>, check: &str, object: &str, what: &str) -> Vec<Finding> {
    if found.is_empty() {
        vec![finding(check, "ok", object, [what, ""])]
    } else {
        found
    }
}

fn number(facts: &Facts, key: &str) -> Option<u64> {
    facts.sysctls.get(key)?.parse().ok()
}

fn serving(facts: &Facts) -> Vec<Finding> {
    let found = facts.not_serving.iter().map(|why| {
        let remedy = "see docs/errors.md, NodeState Ready; pods that run are not touched";
        finding("agent", "error", "agent", [why, remedy])
    });
    or_ok(found.collect(), "agent", "agent", "pods can start")
}

fn files(facts: &Facts) -> Vec<Finding> {
    let found = facts.missing_files.iter().map(|path| {
        let remedy = "the agent writes it within seconds once it serves; if not, the folder is read-only or something deletes it";
        finding("cni-files", "error", path, ["the file is missing", remedy])
    });
    or_ok(found.collect(), "cni-files", "plugin, conflist", "there")
}

/// An agent that hears of no change goes on with what it knows, and looks well in everything else.
fn watches(facts: &Facts) -> Vec<Finding> {
    let mut kinds: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for outage in &facts.outages {
        let alike = kinds.entry((outage.refused, &outage.error)).or_default();
        alike.push(&outage.kind);
    }
    let found = kinds.into_iter().map(|((refused, error), kinds)| {
        let what = format!(
            "failed for a while ({error}): what is known stays in force, and no change of it is applied"
        );
        let remedy = if refused {
            "delete the agent's pod on this node: the next one gets a new token; if that does not help, compare its rights with docs/rbac.md"
        } else {
            "find out why this node does not reach the API server"
        };
        let object = format!("watch of {}", kinds.join(", "));
        finding("watches", "error", &object, [&what, remedy])
    });
    or_ok(
        found.collect(),
        "watches",
        "API server",
        "every kind is watched",
    )
}

fn forwarding(facts: &Facts) -> Vec<Finding> {
    let off = |key: &str| facts.sysctls.get(key).is_some_and(|value| value == "0");
    let node = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
    let everywhere = node.into_iter().filter(|key| off(key)).map(|key| {
        let remedy = "find who turns it off (sysctl.d, another agent); Margay turns it on again";
        let what = "it is 0: pods reach nobody";
        finding("forwarding", "error", key, [what, remedy])
    });
    // Turned off for the node, it is off for each of its links as well.
    let links = facts.kernel.links.iter();
    let carriers = links.filter(|l| l.is_uplink() || l.name.starts_with(LINK_PREFIX));
    let one = carriers.filter(|link| !off(node[0]) && off(&of_link(&link.name, "forwarding")));
    let one = one.map(|link| {
        let what = "net.ipv4.conf forwarding is 0 for this link: IPv4 packets that come in on it go no further";
        let remedy = format!(
            "`sysctl -w net.ipv4.conf.{}.forwarding=1`; Margay leaves a single link's setting to who made it",
            link.name
        );
        finding("forwarding", "error", &format!("link {}", link.name), [what, &remedy])
    });
    let found = everywhere.chain(one).collect();
    or_ok(found, "forwarding", "sysctls", "on, for every link as well")
}

fn foreign_drops(facts: &Facts) -> Vec<Finding> {
    let found = facts.foreign.iter().map(|chain| {
        let object = format!("chain {} {} {}", chain.family, chain.table, chain.chain);
        let what = "a foreign chain at the forward hook has policy drop: what it does not accept is lost, whatever Margay allows";
        let remedy = format!(
            "`nft list chain {} {} {}` on the node; accept pod traffic in it, or set its policy to accept",
            chain.family, chain.table, chain.chain
        );
        finding("foreign-drop", "error", &object, [what, &remedy])
    });
    or_ok(
        found.collect(),
        "foreign-drop",
        "nftables",
        "no foreign chain drops by policy",
    )
}

/// Strict filtering drops what comes in on another link than the one that the answer would take; with one uplink there is no other.
fn reverse_path(facts: &Facts) -> Vec<Finding> {
    let uplinks: Vec<&str> = facts
        .kernel
        .links
        .iter()
        .filter(|l| l.is_uplink() && l.addresses.iter().any(|a| a.is_ipv4()))
        .map(|l| l.name.as_str())
        .collect();
    let of = |name: &str| number(facts, &of_link(name, "rp_filter")).unwrap_or(0);
    // The kernel takes the larger of the two; 2 is loose.
    let strict = |name: &&&str| of(name).max(of("all")) == 1;
    let several = uplinks.len() > 1;
    let found = uplinks.iter().filter(strict).filter(|_| several).map(|name| {
        let what = format!("rp_filter is strict, and the node has {} uplinks: packets whose answer takes another one are dropped", uplinks.len());
        let remedy = format!("`sysctl -w net.ipv4.conf.{name}.rp_filter=2` (and net.ipv4.conf.all), and in sysctl.d");
        finding("reverse-path", "warning", &format!("link {name}"), [&what, &remedy])
    });
    or_ok(
        found.collect(),
        "reverse-path",
        "uplinks",
        "not strict where paths may differ",
    )
}

fn bgp_port(facts: &Facts) -> Vec<Finding> {
    let found = facts.listener.iter().map(|why| {
        let remedy = "stop the other program, set another listenPort, or correct listen.addresses; sessions that this node opens itself work meanwhile";
        finding("bgp-port", "error", "BGP port", [why, remedy])
    });
    or_ok(
        found.collect(),
        "bgp-port",
        "BGP port",
        "free for peers to connect",
    )
}

fn sessions(facts: &Facts) -> Vec<Finding> {
    let down = facts
        .sessions
        .iter()
        .filter(|s| s.state != State::Established);
    let found = down.map(|session| {
        let object = format!("{} {}", session.name, session.address);
        let reason = if session.reason.is_empty() {
            "not connected yet"
        } else {
            &session.reason
        };
        let what = format!("the session is {}: {reason}", session.state);
        finding("session", "error", &object, [&what, remedy_of(reason)])
    });
    let up = format!("{} established", facts.sessions.len());
    or_ok(found.collect(), "session", "BGP sessions", &up)
}

fn remedy_of(reason: &str) -> &'static str {
    let remedies = [
        (
            "differs from",
            "correct remoteAS in the BGPPeer, or the AS number of the peer",
        ),
        (
            "bad peer AS",
            "the peer expects another AS of this node: correct asNumber (NodeConfig, BGPConfiguration) or the peer",
        ),
        (
            "identifier",
            "two speakers have one router id: set routerID in a NodeConfig",
        ),
        (
            "6/5",
            "the peer does not know this node: add it as a neighbour there",
        ),
        (
            "speaks none of",
            "activate a common address family at the peer",
        ),
        (
            "more than",
            "raise maxPrefixes, or filter at the peer; then change the BGPPeer to start anew",
        ),
        (
            "refused",
            "nobody listens there: is the peer's BGP running, and is the address right?",
        ),
        (
            "source address",
            "the node's address is not on an interface: see NodeConfig and kubelet --node-ip",
        ),
    ];
    let found = remedies.into_iter().find(|(word, _)| reason.contains(word));
    found.map_or(
        "check the address, the firewall, and the peer's configuration for this node",
        |(_, remedy)| remedy,
    )
}

/// A pod keeps the MTU that it started with.
fn pod_mtu(facts: &Facts) -> Vec<Finding> {
    let uplinks = facts.kernel.links.iter().filter(|l| l.is_uplink());
    let Some(smallest) = uplinks.min_by_key(|l| l.mtu) else {
        return or_ok(
            Vec::new(),
            "pod-mtu",
            "pod links",
            "no uplink to compare with",
        );
    };
    let pods = facts
        .kernel
        .links
        .iter()
        .filter(|l| l.is_pod() && l.mtu > smallest.mtu);
    let found = pods.map(|link| {
        let object = format!("pod {}", link.alias);
        let what = format!("its MTU is {}, that of uplink {} is {}: large packets are lost where path MTU discovery is filtered", link.mtu, smallest.name, smallest.mtu);
        finding("pod-mtu", "warning", &object, [&what, "raise the uplink's MTU, or restart the pod"])
    });
    or_ok(found.collect(), "pod-mtu", "pod links", "fit the uplinks")
}

fn connections(facts: &Facts) -> Vec<Finding> {
    let count = number(facts, "net/netfilter/nf_conntrack_count");
    let most = number(facts, "net/netfilter/nf_conntrack_max").filter(|most| *most > 0);
    let (Some(count), Some(most)) = (count, most) else {
        return or_ok(Vec::new(), "conntrack", "conntrack", "not in use");
    };
    let share = format!("{count} of {most} connections");
    let found = (count * 100 >= most * NEARLY_FULL).then(|| {
        let what = format!("{share}: new ones are dropped when it is full");
        finding(
            "conntrack",
            "warning",
            "conntrack",
            [
                &what,
                "raise net.netfilter.nf_conntrack_max, or find who opens so many (`conntrack -L`)",
            ],
        )
    });
    or_ok(
        found.into_iter().collect(),
        "conntrack",
        "conntrack",
        &share,
    )
}

fn neighbours(facts: &Facts) -> Vec<Finding> {
    let (v4, v6) = facts.kernel.neighbours;
    let found = [("ipv4", v4), ("ipv6", v6)].into_iter().filter_map(|(family, count)| {
        let key = format!("net/{family}/neigh/default/gc_thresh3");
        let most = number(facts, &key).filter(|most| *most > 0)?;
        let full = count as u64 * 100 >= most * NEARLY_FULL;
        let what = format!("{count} neighbours, and the table holds {most}: beyond that, neighbours cannot be reached");
        full.then(|| finding("neighbours", "warning", &key, [&what, "raise gc_thresh1, gc_thresh2 and gc_thresh3"]))
    });
    let all = format!("{v4} IPv4, {v6} IPv6");
    or_ok(found.collect(), "neighbours", "neighbour tables", &all)
}

fn multipath(facts: &Facts) -> Vec<Finding> {
    let keys = [
        "net/ipv4/fib_multipath_hash_policy",
        "net/ipv6/fib_multipath_hash_policy",
    ];
    let found = keys
        .into_iter()
        .filter(|key| facts.kernel.multipath && number(facts, key) == Some(0))
        .map(|key| {
            let what = "it is 0: all connections between two addresses take one of the equal paths";
            finding(
                "multipath",
                "warning",
                key,
                [what, "set it to 1 to spread connections by port, too"],
            )
        });
    let what = if facts.kernel.multipath {
        "spread by port"
    } else {
        "no equal paths"
    };
    or_ok(found.collect(), "multipath", "equal paths", what)
}

fn kernel(facts: &Facts) -> Vec<Finding> {
    let mut parts = facts
        .release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = parts.next().zip(parts.next());
    let found = version.filter(|version| *version < OWNED_TABLES).map(|_| {
        let what = format!("Linux {} cannot protect the policy table: `nft flush ruleset` removes it until the agent notices", facts.release);
        finding("kernel", "warning", "kernel", [&what, "Linux 6.9 or later; until then keep other programs from flushing the ruleset"])
    });
    or_ok(
        found.into_iter().collect(),
        "kernel",
        "kernel",
        &format!("Linux {}", facts.release),
    )
}

#[cfg(test)]
mod tests;
