//! `speaker.toml` as it is written: names and shapes, no meaning yet.
//!
//! Numbers are wide here, so that one that is out of range is refused by the setting's name, with its bounds, and beside every other
//! fault of the file.

mod filter;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use margay_bgp::wire::{Community, LargeCommunity, Origin};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

pub(super) use filter::Filter;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) router_id: Ipv4Addr,
    #[serde(rename = "as")]
    pub(super) asn: i64,
    pub(super) name: Option<String>,
    pub(super) socket: Option<PathBuf>,
    pub(super) metrics_port: Option<i64>,
    pub(super) restart_seconds: Option<i64>,
    pub(super) maximum_paths: Option<i64>,
    #[serde(default)]
    pub(super) listen: Listen,
    #[serde(default)]
    pub(super) kernel: Kernel,
    #[serde(default)]
    pub(super) defaults: Peer,
    #[serde(default)]
    pub(super) peer: Vec<Peer>,
    #[serde(default)]
    pub(super) filter: Vec<Filter>,
    #[serde(default)]
    pub(super) route: Vec<Route>,
}

/// `[listen]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Listen {
    pub(super) addresses: Option<Vec<IpAddr>>,
    pub(super) port: Option<i64>,
}

/// `[kernel]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Kernel {
    pub(super) fib: Option<bool>,
}

/// `[[peer]]`, and `[defaults]` for what the peers do not say themselves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Peer {
    pub(super) address: Option<IpAddr>,
    pub(super) description: Option<String>,
    pub(super) shutdown: Option<String>,
    pub(super) remote_as: Option<RemoteAs>,
    pub(super) local_as: Option<i64>,
    pub(super) port: Option<i64>,
    pub(super) passive: Option<bool>,
    pub(super) source: Option<IpAddr>,
    pub(super) hold_seconds: Option<i64>,
    pub(super) connect_retry_seconds: Option<i64>,
    pub(super) families: Option<Vec<FamilyName>>,
    pub(super) next_hop_ipv4: Option<Ipv4Addr>,
    pub(super) next_hop_ipv6: Option<Ipv6Addr>,
    pub(super) next_hop_self: Option<bool>,
    pub(super) allow_own_as: Option<i64>,
    pub(super) enforce_first_as: Option<bool>,
    pub(super) graceful_restart: Option<bool>,
    pub(super) max_prefixes: Option<i64>,
    pub(super) import: Option<Import>,
    pub(super) export: Option<Export>,
    pub(super) import_filters: Option<Vec<String>>,
    pub(super) export_filters: Option<Vec<String>>,
    pub(super) ttl_security: Option<bool>,
    pub(super) multihop: Option<i64>,
    pub(super) password: Option<String>,
}

/// `[[route]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Route {
    pub(super) prefix: Prefix,
    pub(super) next_hop: Option<IpAddr>,
    pub(super) origin: Option<OriginName>,
    pub(super) med: Option<i64>,
    pub(super) local_pref: Option<i64>,
    #[serde(default)]
    pub(super) communities: Vec<CommunityText>,
}

/// What of a peer's routes is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Import {
    All,
    None,
}

/// What a peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Export {
    /// Own routes.
    Own,
    /// Own and learned ones.
    All,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FamilyName {
    Ipv4,
    Ipv6,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OriginName {
    Igp,
    Egp,
    Incomplete,
}

/// A number, `internal` or `external`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteAs {
    Number(i64),
    Internal,
    External,
}

/// A prefix without bits beyond its length.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Prefix(pub(super) IpNetwork);

/// `65000:1`, `65000:1:2` or a well-known name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum CommunityText {
    Standard(Community),
    Large(LargeCommunity),
}

impl Peer {
    /// What this table says, and what `defaults` says where it is silent. Who the peer is has no default.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let other = defaults.clone();
        Self {
            address: self.address,
            description: self.description,
            shutdown: self.shutdown.or(other.shutdown),
            remote_as: self.remote_as.or(other.remote_as),
            local_as: self.local_as.or(other.local_as),
            port: self.port.or(other.port),
            passive: self.passive.or(other.passive),
            source: self.source.or(other.source),
            hold_seconds: self.hold_seconds.or(other.hold_seconds),
            connect_retry_seconds: self.connect_retry_seconds.or(other.connect_retry_seconds),
            families: self.families.or(other.families),
            next_hop_ipv4: self.next_hop_ipv4.or(other.next_hop_ipv4),
            next_hop_ipv6: self.next_hop_ipv6.or(other.next_hop_ipv6),
            next_hop_self: self.next_hop_self.or(other.next_hop_self),
            allow_own_as: self.allow_own_as.or(other.allow_own_as),
            enforce_first_as: self.enforce_first_as.or(other.enforce_first_as),
            graceful_restart: self.graceful_restart.or(other.graceful_restart),
            max_prefixes: self.max_prefixes.or(other.max_prefixes),
            import: self.import.or(other.import),
            export: self.export.or(other.export),
            import_filters: self.import_filters.or(other.import_filters),
            export_filters: self.export_filters.or(other.export_filters),
            ttl_security: self.ttl_security.or(other.ttl_security),
            multihop: self.multihop.or(other.multihop),
            password: self.password.or(other.password),
        }
    }
}

impl From<OriginName> for Origin {
    fn from(name: OriginName) -> Self {
        match name {
            OriginName::Igp => Self::Igp,
            OriginName::Egp => Self::Egp,
            OriginName::Incomplete => Self::Incomplete,
        }
    }
}

impl<'de> Deserialize<'de> for RemoteAs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyAs)
    }
}

struct AnyAs;

impl Visitor<'_> for AnyAs {
    type Value = RemoteAs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AS number without quotes, \"internal\" or \"external\"")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<RemoteAs, E> {
        Ok(RemoteAs::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RemoteAs, E> {
        match text {
            "internal" => Ok(RemoteAs::Internal),
            "external" => Ok(RemoteAs::External),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.contains('/').then(|| text.parse::<IpNetwork>());
        let Some(Ok(network)) = parsed else {
            return Err(format!(
                "{text:?} is not a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\""
            ));
        };
        if network.ip() != network.network() {
            return Err(format!(
                "{text:?} has bits set beyond its prefix length; write \"{}/{}\"",
                network.network(),
                network.prefix()
            ));
        }
        Ok(Self(network))
    }
}

impl TryFrom<String> for CommunityText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let well_known = match text.as_str() {
            "graceful-shutdown" => Some(Community::GRACEFUL_SHUTDOWN),
            "no-export" => Some(Community::NO_EXPORT),
            "no-advertise" => Some(Community::NO_ADVERTISE),
            _ => None,
        };
        if let Some(community) = well_known {
            return Ok(Self::Standard(community));
        }
        let parts: Vec<u32> = text
            .split(':')
            .filter_map(|part| part.parse().ok())
            .collect();
        match (parts.as_slice(), text.split(':').count()) {
            (&[high, low], 2) if high <= 0xffff && low <= 0xffff => {
                Ok(Self::Standard(Community(high << 16 | low)))
            }
            (&[a, b, c], 3) => Ok(Self::Large(LargeCommunity(a, b, c))),
            _ => Err(format!(
                "{text:?} is not a community: two numbers up to 65535 (\"65000:1\"), three up to 4294967295 (\"4200000000:1:2\"), \"no-export\", \"no-advertise\" or \"graceful-shutdown\""
            )),
        }
    }
}
