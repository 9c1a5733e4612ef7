//! One peer of the file.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use margay_bgp::{
    Asn, Families, LocalAddresses, Password, PeerConfig, PerFamily, Policy, Protection, Reach,
    RemoteAs,
};

use super::Faults;
use super::policy::exports;
use crate::filters::{Filters, Way};
use crate::standalone::file::{self, FamilyName};

/// What is the same for all peers.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) asn: Asn,
    pub(super) filters: &'a Filters,
}

/// Every peer, filled up from `[defaults]`.
pub(super) fn peers(
    tables: Vec<file::Peer>,
    defaults: &file::Peer,
    own: Own<'_>,
    faults: &mut Faults,
) -> Vec<PeerConfig> {
    for (field, given) in [
        ("address", defaults.address.is_some()),
        ("description", defaults.description.is_some()),
    ] {
        if given {
            faults.add(format!(
                "[defaults] {field}: every peer has its own; move it to a [[peer]]"
            ));
        }
    }
    let mut seen = BTreeSet::new();
    let mut peers = Vec::new();
    for (number, table) in tables.into_iter().enumerate() {
        let table = table.or(defaults);
        let Some(address) = table.address.map(|address| address.to_canonical()) else {
            let named = table.description.unwrap_or_default();
            faults.add(format!(
                "[[peer]] number {} {named:?} has no address; write address = \"192.0.2.1\"",
                number + 1
            ));
            continue;
        };
        if !seen.insert(address) {
            faults.add(format!(
                "peer {address} is there twice; delete one of the two"
            ));
        }
        let whose = Whose {
            peer: address,
            faults,
        };
        peers.push(whose.read(table, own));
    }
    peers
}

/// The peer whose fields are read, and where to complain.
pub(super) struct Whose<'a> {
    peer: IpAddr,
    pub(super) faults: &'a mut Faults,
}

impl Whose<'_> {
    fn read(mut self, table: file::Peer, own: Own<'_>) -> PeerConfig {
        self.address();
        let families = self.families(table.families.as_deref());
        let remote_as = self.remote_as(table.remote_as);
        let plain = PeerConfig::new(self.peer, remote_as);
        let maximum = table
            .max_prefixes
            .map(|most| self.within("max-prefixes", Some(most), 1, u32::MAX.into(), 1));
        let own_as = table.local_as.map(|asn| self.asn("local-as", asn));
        let retry = table.connect_retry_seconds;
        PeerConfig {
            description: table.description.unwrap_or_default(),
            held_down: table.shutdown,
            local_as: own_as.filter(|asn| *asn != own.asn),
            passive: table.passive.unwrap_or(plain.passive),
            remote_port: self.within("port", table.port, 1, 65535, plain.remote_port),
            source: self.source(table.source),
            hold_time: self.hold_time(table.hold_seconds, plain.hold_time),
            connect_retry: retry.map_or(plain.connect_retry, |seconds| {
                Duration::from_secs(self.within("connect-retry-seconds", Some(seconds), 1, 3600, 1))
            }),
            families,
            local_addresses: LocalAddresses {
                v4: table.next_hop_ipv4,
                v6: table.next_hop_ipv6,
            },
            next_hop_self: table.next_hop_self.unwrap_or(plain.next_hop_self),
            allow_own_as: self.within("allow-own-as", table.allow_own_as, 0, 10, 0),
            enforce_first_as: table.enforce_first_as.unwrap_or(plain.enforce_first_as),
            graceful_restart: table.graceful_restart.unwrap_or(plain.graceful_restart),
            maximum_prefixes: PerFamily {
                v4: maximum,
                v6: maximum,
            },
            import: Policy {
                rules: self.rules(own, Way::Import, table.import_filters),
                otherwise: self.import(table.import),
            },
            export: Policy {
                rules: self.rules(own, exports(table.export), table.export_filters),
                otherwise: self.export(table.export),
            },
            protection: Protection {
                password: self.password(table.password),
                reach: self.reach(table.ttl_security, table.multihop),
            },
            ..plain
        }
    }

    pub(super) fn add(&mut self, fault: &str) {
        self.faults.add(format!("peer {}: {fault}", self.peer));
    }

    fn within<T: TryFrom<i64>>(
        &mut self,
        field: &str,
        value: Option<i64>,
        least: i64,
        most: i64,
        default: T,
    ) -> T {
        let field = format!("peer {}: {field}", self.peer);
        self.faults.within(&field, value, least, most, default)
    }

    fn asn(&mut self, field: &str, number: i64) -> Asn {
        let field = format!("peer {}: {field}", self.peer);
        self.faults.asn(&field, number)
    }

    fn address(&mut self) {
        let link_local = match self.peer {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if self.peer.is_unspecified() || self.peer.is_multicast() {
            self.add("its address is that of no host; give the peer's own");
        } else if link_local {
            self.add(
                "its address is link-local and means nothing without a link; give one of wider scope",
            );
        }
    }

    fn remote_as(&mut self, given: Option<file::RemoteAs>) -> RemoteAs {
        match given {
            Some(file::RemoteAs::Internal) => RemoteAs::Internal,
            Some(file::RemoteAs::External) => RemoteAs::External,
            Some(file::RemoteAs::Number(number)) => RemoteAs::Number(self.asn("remote-as", number)),
            None => {
                self.add(
                    "remote-as is missing; give the peer's AS number, \"internal\" or \"external\"",
                );
                RemoteAs::External
            }
        }
    }

    fn hold_time(&mut self, given: Option<i64>, default: u16) -> u16 {
        // RFC 4271 section 4.2.
        if let Some(seconds @ (1 | 2)) = given {
            self.add(&format!(
                "hold-seconds {seconds} is not allowed by RFC 4271; give 0 for none, or 3 to 65535"
            ));
        }
        self.within("hold-seconds", given, 0, 65535, default)
    }

    fn source(&mut self, given: Option<IpAddr>) -> Option<IpAddr> {
        if let Some(source) = given
            && source.is_ipv4() != self.peer.is_ipv4()
        {
            self.add(&format!(
                "source {source} is of the other address family; give an address of this host of the peer's family"
            ));
        }
        given
    }

    fn families(&mut self, given: Option<&[FamilyName]>) -> Families {
        let Some(given) = given else {
            return Families::BOTH;
        };
        if given.is_empty() {
            self.add("families is empty; name \"ipv4\", \"ipv6\" or both");
        }
        Families {
            v4: given.contains(&FamilyName::Ipv4),
            v6: given.contains(&FamilyName::Ipv6),
        }
    }

    /// How far away the peer may be, and whether its packets must prove it.
    fn reach(&mut self, secured: Option<bool>, multihop: Option<i64>) -> Reach {
        let hops = multihop.map(|hops| self.within("multihop", Some(hops), 1, 255, 1));
        match (secured.unwrap_or(false), hops) {
            (true, hops) => Reach::Secured(hops.unwrap_or(1)),
            (false, Some(hops)) => Reach::Within(hops),
            (false, None) => Reach::Anywhere,
        }
    }

    fn password(&mut self, given: Option<String>) -> Option<Password> {
        // TCP_MD5SIG_MAXKEYLEN.
        if given
            .as_ref()
            .is_some_and(|text| !(1..=80).contains(&text.len()))
        {
            self.add("password is not of 1 to 80 octets, which is what TCP MD5 takes");
        }
        given.map(Password)
    }
}
