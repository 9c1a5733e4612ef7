//! What `speaker.toml` means: parsed once, into values that cannot be wrong; every fault of the file at once.

mod peer;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use margay_bgp::{Asn, Origination, PeerConfig, SpeakerConfig};

use super::file::{CommunityText, File, Route};

/// Everything that the file decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What counts at the start only.
    pub fixed: Fixed,
    /// AS, router id, restart time, equal paths.
    pub speaker: SpeakerConfig,
    /// TCP port to listen on.
    pub listen_port: u16,
    /// Where to listen; everywhere when `None`.
    pub listen_addresses: Option<Vec<IpAddr>>,
    /// Whether learned routes go into the kernel.
    pub fib: bool,
    /// The peers; local addresses that the file does not give are found in the kernel.
    pub peers: Vec<PeerConfig>,
    /// Own routes.
    pub routes: Vec<Origination>,
    /// Whether any peer is told what was learned from another.
    pub transit: bool,
}

/// Settings that a running speaker cannot change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// How `margayctl` calls this speaker.
    pub name: String,
    /// The socket for `margayctl`.
    pub socket: PathBuf,
    /// TCP port of `/healthz`, `/readyz` and `/metrics`; none: not served.
    pub metrics_port: Option<u16>,
}

/// A file that cannot be used: why, all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .file.display(), .faults.join("; "))]
pub struct Refused {
    file: PathBuf,
    /// Each names table, field, value and remedy.
    pub faults: Vec<String>,
}

/// Where `margayctl --socket` finds a standalone speaker unless its file says otherwise.
pub const SOCKET: &str = "/run/margay/speaker.sock";

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Refused> {
        let refused = |faults| Refused {
            file: path.to_owned(),
            faults,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| refused(vec![format!("cannot be read: {error}")]))?;
        text.parse().map_err(refused)
    }

    fn of(file: File) -> Result<Self, Vec<String>> {
        let mut faults = Faults::default();
        let fixed = fixed(&file, &mut faults);
        let speaker = SpeakerConfig {
            hostname: Some(fixed.name.clone()),
            ..speaker(&file, &mut faults)
        };
        let listen_port = faults.within("[listen] port", file.listen.port, 1, 65535, 179);
        let listen_addresses = file.listen.addresses;
        for address in listen_addresses.iter().flatten() {
            if address.is_multicast() {
                faults.add(format!(
                    "[listen] addresses: {address} is a multicast address; name addresses of this host"
                ));
            }
        }
        let fib = file.kernel.fib.unwrap_or(true);
        let filters = policy::filters(&file.filter, &mut faults);
        let own = peer::Own {
            asn: speaker.local_as,
            filters: &filters,
        };
        let peers = peer::peers(file.peer, &file.defaults, own, &mut faults);
        let transit = |peer: &PeerConfig| peer.export.passes_learned();
        let routes = routes(file.route, &mut faults);
        let settings = Self {
            fixed,
            speaker,
            listen_port,
            listen_addresses,
            fib,
            transit: peers.iter().any(transit),
            peers,
            routes,
        };
        if faults.0.is_empty() {
            Ok(settings)
        } else {
            Err(faults.0)
        }
    }
}

impl FromStr for Settings {
    type Err = Vec<String>;

    fn from_str(text: &str) -> Result<Self, Vec<String>> {
        let file: File = toml::from_str(text).map_err(|error| vec![located(text, &error)])?;
        Self::of(file)
    }
}

/// The error with the line that it is about, on one line of its own: it goes into a log.
fn located(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', ", ");
    let Some(span) = error.span() else {
        return message;
    };
    let start = text.get(..span.start).unwrap_or(text);
    let number = start.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default().trim();
    // What a password is must not get into a log.
    let shown = if line.contains("password") {
        "password …"
    } else {
        line
    };
    format!("line {number}, `{shown}`: {message}")
}

fn speaker(file: &File, faults: &mut Faults) -> SpeakerConfig {
    let asn = faults.asn("as", file.asn);
    if file.router_id.is_unspecified() {
        faults.add(
            "router-id 0.0.0.0 is no router id; give an IPv4 address that no other speaker of the AS has"
                .to_owned(),
        );
    }
    let plain = SpeakerConfig::new(asn, file.router_id);
    SpeakerConfig {
        restart_time: faults.within(
            "restart-seconds",
            file.restart_seconds,
            0,
            4095,
            plain.restart_time,
        ),
        maximum_paths: faults.within(
            "maximum-paths",
            file.maximum_paths,
            1,
            64,
            plain.maximum_paths,
        ),
        ..plain
    }
}

fn fixed(file: &File, faults: &mut Faults) -> Fixed {
    let host = || {
        nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|_| "localhost".to_owned())
    };
    let socket = file.socket.clone().unwrap_or_else(|| SOCKET.into());
    if !socket.is_absolute() {
        faults.add(format!(
            "socket {:?} is not an absolute path; write one such as \"{SOCKET}\"",
            socket.display().to_string()
        ));
    }
    let port = file.metrics_port;
    Fixed {
        name: file.name.clone().unwrap_or_else(host),
        socket,
        metrics_port: port.map(|port| faults.within("metrics-port", Some(port), 1, 65535, 1)),
    }
}

fn routes(tables: Vec<Route>, faults: &mut Faults) -> Vec<Origination> {
    let mut routes: BTreeMap<IpNetwork, Origination> = BTreeMap::new();
    for table in tables {
        let prefix = table.prefix.0;
        let whose = format!("route {prefix}:");
        if let Some(next_hop) = table.next_hop
            && next_hop.is_ipv4() != prefix.is_ipv4()
        {
            faults.add(format!(
                "{whose} next-hop {next_hop} is of the other address family; leave it out for this speaker itself"
            ));
        }
        let mut number = |field: &str, value: Option<i64>| {
            value.map(|value| {
                faults.within(
                    &format!("{whose} {field}"),
                    Some(value),
                    0,
                    u32::MAX.into(),
                    0,
                )
            })
        };
        let mut route = Origination::new(prefix);
        route.med = number("med", table.med);
        route.local_pref = number("local-pref", table.local_pref);
        route.origin = table.origin.map_or(route.origin, Into::into);
        route.next_hop = table.next_hop;
        for community in table.communities {
            match community {
                CommunityText::Standard(standard) => route.communities.push(standard),
                CommunityText::Large(large) => route.large_communities.push(large),
            }
        }
        if routes.insert(prefix, route).is_some() {
            faults.add(format!("{whose} is there twice; delete one of the two"));
        }
    }
    routes.into_values().collect()
}

/// What is wrong so far.
#[derive(Debug, Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    /// The number if it is within the bounds, the default where there is none.
    fn within<T: TryFrom<i64>>(
        &mut self,
        field: &str,
        value: Option<i64>,
        least: i64,
        most: i64,
        default: T,
    ) -> T {
        let Some(value) = value else {
            return default;
        };
        match T::try_from(value) {
            Ok(number) if (least..=most).contains(&value) => number,
            _ => {
                self.add(format!("{field} {value} is not from {least} to {most}"));
                default
            }
        }
    }

    fn asn(&mut self, field: &str, number: i64) -> Asn {
        match u32::try_from(number) {
            Ok(number) if !matches!(number, 0 | 23456 | 65535 | u32::MAX) => Asn(number),
            _ => {
                self.add(format!(
                    "{field} {number} is not an AS number: 1 to 4294967294 without 23456 and 65535, which are reserved (RFC 6793, RFC 7300)"
                ));
                Asn(0)
            }
        }
    }
}
