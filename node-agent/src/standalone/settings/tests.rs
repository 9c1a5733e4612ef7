mod filters;

use super::*;
use margay_bgp::{Families, LocalAddresses, Policy, RemoteAs};
use std::time::Duration;

const WHO: &str = "router-id = \"192.0.2.1\"\nas = 65000\n";
const PEER: &str =
    "[[peer]]\naddress = \"192.0.2.2\"\nremote-as = 65001\nimport = \"all\"\nexport = \"own\"\n";

fn read(text: &str) -> Result<Settings, Vec<String>> {
    text.parse()
}

/// The one fault of a text.
fn fault(text: &str) -> String {
    let faults = read(text).expect_err(text);
    assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    faults[0].clone()
}

#[test]
fn two_lines_are_a_speaker() {
    let settings = read(WHO).unwrap();
    let plain = SpeakerConfig::new(Asn(65000), [192, 0, 2, 1].into());
    let hostname = Some(settings.fixed.name.clone());
    assert_eq!(settings.speaker, SpeakerConfig { hostname, ..plain });
    assert_eq!(
        (settings.listen_port, settings.fib, settings.transit),
        (179, true, false)
    );
    assert_eq!(settings.listen_addresses, None);
    assert_eq!(settings.fixed.socket, PathBuf::from(SOCKET));
    assert!(!settings.fixed.name.is_empty(), "the host's own name");
}

#[test]
fn peers_are_filled_up_from_the_defaults() {
    let settings = read(&format!(
        "{WHO}
        [defaults]
        import = \"all\"
        export = \"all\"
        hold-seconds = 30
        max-prefixes = 1000
        [[peer]]
        address = \"192.0.2.2\"
        remote-as = \"external\"
        [[peer]]
        address = \"2001:db8::2\"
        description = \"the other one\"
        remote-as = \"internal\"
        hold-seconds = 0
        families = [\"ipv6\"]
        next-hop-ipv6 = \"2001:db8::1\"
        export = \"none\"
        ttl-security = true
        password = \"secret\"
        connect-retry-seconds = 5
        shutdown = \"until Monday\""
    ))
    .unwrap();
    let [first, second] = &settings.peers[..] else {
        panic!("{:?}", settings.peers);
    };
    assert_eq!(
        (first.remote_as, second.remote_as),
        (RemoteAs::External, RemoteAs::Internal)
    );
    assert_eq!((first.hold_time, second.hold_time), (30, 0));
    assert_eq!(
        (first.maximum_prefixes.v6, second.maximum_prefixes.v4),
        (Some(1000), Some(1000))
    );
    assert_eq!(
        (&first.export, &second.export),
        (&Policy::accept_all(), &Policy::reject_all())
    );
    assert_eq!(
        second.families,
        Families {
            v4: false,
            v6: true
        }
    );
    assert_eq!(
        second.local_addresses,
        LocalAddresses {
            v4: None,
            v6: "2001:db8::1".parse().ok()
        }
    );
    assert_eq!(second.protection.reach, margay_bgp::Reach::Secured(1));
    assert!(second.protection.password.is_some());
    assert_eq!(first.protection, margay_bgp::Protection::default());
    assert_eq!(second.connect_retry, Duration::from_secs(5));
    assert_eq!(second.held_down.as_deref(), Some("until Monday"));
    assert!(settings.transit);
}

#[test]
fn own_routes_carry_what_they_are_given() {
    let settings = read(&format!(
        "{WHO}
        [[route]]
        prefix = \"198.51.100.0/24\"
        [[route]]
        prefix = \"2001:db8:1::/48\"
        next-hop = \"2001:db8::9\"
        med = 7
        communities = [\"65000:1\", \"4200000000:1:2\", \"no-export\"]"
    ))
    .unwrap();
    assert_eq!(
        settings.routes[0],
        Origination::new("198.51.100.0/24".parse().unwrap())
    );
    let second = &settings.routes[1];
    assert_eq!(
        (second.med, second.next_hop),
        (Some(7), "2001:db8::9".parse().ok())
    );
    assert_eq!(second.communities[0].to_string(), "65000:1");
    assert_eq!(
        (second.communities.len(), second.large_communities.len()),
        (2, 1)
    );
}

/// Texts with one mistake each, and what must be in the answer: the place, the value, the remedy.
type Mistakes = &'static [(&'static str, &'static [&'static str])];

const WHOLE: Mistakes = &[
    ("as = 65000", &["missing field `router-id`"]),
    (
        "router-id = \"192.0.2\"\nas = 1",
        &["line 1", "router-id = \"192.0.2\"", "invalid IPv4"],
    ),
    (
        "router-id = \"0.0.0.0\"\nas = 1",
        &["router-id 0.0.0.0", "give an IPv4 address"],
    ),
    (
        "router-id = \"192.0.2.1\"\nas = 23456",
        &["as 23456", "1 to 4294967294"],
    ),
    (
        "router-id = \"192.0.2.1\"\nas = 4294967296",
        &["as 4294967296"],
    ),
];

/// After [`WHO`].
const TABLES: Mistakes = &[
    (
        "colour = 1",
        &[
            "line 3",
            "`colour = 1`",
            "unknown field `colour`",
            "expected one of",
        ],
    ),
    ("peer = 1 2", &["line 3"]),
    (
        "restart-seconds = 5000",
        &["restart-seconds 5000", "0 to 4095"],
    ),
    ("maximum-paths = 0", &["maximum-paths 0", "1 to 64"]),
    ("metrics-port = 0", &["metrics-port 0", "1 to 65535"]),
    (
        "socket = \"speaker.sock\"",
        &["socket \"speaker.sock\"", "absolute"],
    ),
    (
        "[listen]\nport = 70000",
        &["[listen] port 70000", "1 to 65535"],
    ),
    (
        "[listen]\naddresses = [\"ff02::1\"]",
        &["[listen] addresses", "ff02::1"],
    ),
    (
        "[kernel]\nfib = \"yes\"",
        &["line 4", "fib = \"yes\"", "expected a boolean"],
    ),
    ("[kernel]\ntable = 5", &["unknown field `table`", "`fib`"]),
    (
        "[defaults]\naddress = \"192.0.2.2\"",
        &["[defaults] address", "[[peer]]"],
    ),
    (
        "[[peer]]\ndescription = \"tor\"\nremote-as = 1",
        &["[[peer]] number 1 \"tor\"", "no address"],
    ),
    (
        "[[route]]\nprefix = \"10.0.0.1/8\"",
        &["line 4", "\"10.0.0.1/8\"", "write \"10.0.0.0/8\""],
    ),
    (
        "[[route]]\nprefix = \"10.0.0.0\"",
        &["\"10.0.0.0\" is not a prefix"],
    ),
    (
        "[[route]]\nprefix = \"10.0.0.0/8\"\nnext-hop = \"::1\"",
        &["route 10.0.0.0/8: next-hop ::1", "family"],
    ),
    (
        "[[route]]\nprefix = \"10.0.0.0/8\"\nmed = -1",
        &["route 10.0.0.0/8: med -1"],
    ),
    (
        "[[route]]\nprefix = \"10.0.0.0/8\"\ncommunities = [\"65536:1\"]",
        &["\"65536:1\" is not a community"],
    ),
    (
        "[[route]]\nprefix = \"::/0\"\n[[route]]\nprefix = \"::/0\"",
        &["route ::/0: is there twice"],
    ),
];

/// Put into [`PEER`] in the place of its line for the same field, or at its end.
const FIELDS: Mistakes = &[
    ("remote-as", &["peer 192.0.2.2: remote-as is missing"]),
    (
        "import",
        &["import is missing (RFC 8212)", "\"all\" or \"none\""],
    ),
    ("export", &["export is missing (RFC 8212)", "\"own\""]),
    ("remote-as = 0", &["peer 192.0.2.2: remote-as 0"]),
    (
        "remote-as = \"ibgp\"",
        &["\"ibgp\"", "\"internal\" or \"external\""],
    ),
    (
        "export = \"own-only\"",
        &["unknown variant `own-only`", "`own`, `all`, `none`"],
    ),
    ("address = \"fe80::1\"", &["peer fe80::1", "link-local"]),
    ("address = \"224.0.0.1\"", &["peer 224.0.0.1", "no host"]),
    (
        "hold-seconds = 2",
        &["peer 192.0.2.2: hold-seconds 2", "3 to 65535"],
    ),
    ("hold-seconds = -1", &["peer 192.0.2.2: hold-seconds -1"]),
    ("port = 0", &["peer 192.0.2.2: port 0"]),
    (
        "connect-retry-seconds = 0",
        &["connect-retry-seconds 0", "1 to 3600"],
    ),
    ("allow-own-as = 11", &["allow-own-as 11", "0 to 10"]),
    ("max-prefixes = 0", &["max-prefixes 0", "1 to 4294967295"]),
    ("local-as = 65535", &["local-as 65535", "reserved"]),
    (
        "source = \"2001:db8::1\"",
        &["source 2001:db8::1", "family"],
    ),
    (
        "families = []",
        &["families is empty", "\"ipv4\", \"ipv6\""],
    ),
    (
        "families = [\"vpn\"]",
        &["unknown variant `vpn`", "`ipv4` or `ipv6`"],
    ),
    ("password = \"\"", &["password", "1 to 80"]),
];

fn named(text: &str, pieces: &[&str]) {
    let fault = fault(text);
    for piece in pieces {
        assert!(fault.contains(piece), "{text}\n  {fault}\n  lacks {piece}");
    }
}

#[test]
fn every_mistake_is_named_with_its_remedy() {
    for (text, pieces) in WHOLE {
        named(text, pieces);
    }
    for (text, pieces) in TABLES {
        named(&format!("{WHO}{text}"), pieces);
    }
    for (text, pieces) in FIELDS {
        let field = text.split(' ').next().unwrap();
        let others = PEER.lines().filter(|line| !line.starts_with(field));
        let peer: Vec<&str> = others.chain(text.contains('=').then_some(*text)).collect();
        named(&format!("{WHO}{}", peer.join("\n")), pieces);
    }
    named(
        &format!("{WHO}{PEER}{PEER}"),
        &["peer 192.0.2.2 is there twice"],
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = format!("{WHO}restart-seconds = 5000\n{PEER}port = 0\nhold-seconds = 1");
    assert_eq!(read(&text).unwrap_err().len(), 3);
}

#[test]
fn a_password_is_never_shown() {
    let text = format!("{WHO}{PEER}password = 'secret' x");
    assert!(!fault(&text).contains("secret"), "{}", fault(&text));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::read(Path::new("/nowhere/speaker.toml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/speaker.toml: cannot be read"),
        "{error}"
    );
}
