//! The node's sysctls: forwarding on, and a record of what was changed so that an uninstall can put it back.
//!
//! `/proc/sys/net` shows the network namespace of the calling thread.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use margay_proto::names::LINK_PREFIX;

use crate::files;

use super::error::Error;
use super::netlink::Socket;
use super::netlink::message::INET6;
use super::netlink::object::{Link, RouteEntry, get_link, get_routes};

/// Where the agent records the original values.
pub const RECORD: &str = "/var/lib/margay/sysctls.json";

const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";
const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";
/// `rtm_protocol` of routes learned from router advertisements.
const RTPROT_RA: u8 = 9;

/// One sysctl that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path below `/proc/sys`.
    pub key: String,
    /// The value found.
    pub from: String,
    /// The value written.
    pub to: String,
}

/// Turns forwarding on for both families, without losing routes that the node has from router advertisements.
///
/// A forwarding host ignores advertisements unless `accept_ra` is 2, so that is written first. The original values go
/// into `record` before anything is written; a value already recorded stays as it is there, so that repeating this (or an
/// upgrade) never takes our own value for the original.
///
/// # Errors
/// The file or sysctl that could not be read or written.
pub fn enable_forwarding(record: &Path) -> Result<Vec<Change>, Error> {
    let mut wanted: Vec<(String, &str)> = Vec::new();
    if exists(IPV6_FORWARDING) {
        wanted.extend(
            interfaces_with_advertisements()?
                .into_iter()
                .map(|name| (accept_ra(&name), "2")),
        );
        wanted.push((IPV6_FORWARDING.into(), "1"));
    }
    wanted.push((IPV4_FORWARDING.into(), "1"));
    let mut changes = Vec::new();
    for (key, to) in wanted {
        let from = read(&key)?;
        if from != to {
            changes.push(Change {
                key,
                from,
                to: to.into(),
            });
        }
    }
    remember(record, &changes)?;
    for change in &changes {
        write(&change.key, &change.to)?;
    }
    Ok(changes)
}

/// Puts the recorded values back, newest concern first (forwarding before `accept_ra`), and removes the record.
///
/// # Errors
/// The sysctl that could not be written; the record is kept then. One that is gone with its interface is passed over.
pub fn restore(record: &Path) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let mut originals: Vec<(String, String)> = recorded(record)?.into_iter().collect();
    originals.sort_by_key(|(key, _)| key.ends_with("accept_ra"));
    for (key, to) in originals.into_iter().filter(|(key, _)| exists(key)) {
        let from = read(&key)?;
        write(&key, &to)?;
        changes.push(Change { key, from, to });
    }
    match fs::remove_file(record) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(record.display().to_string(), e))
        }
        _ => Ok(changes),
    }
}

/// Writes a sysctl unless it has that value already: a write can cost a lock and notifications even if nothing changes.
pub(crate) fn ensure(key: &str, value: &str) -> Result<(), Error> {
    if read(key)? == value {
        Ok(())
    } else {
        write(key, value)
    }
}

/// Whether the kernel (and the interface in the key) has this sysctl.
pub(crate) fn exists(key: &str) -> bool {
    path(key).exists()
}

/// Interfaces that accept advertisements now and would stop: those with a route from one, and hardware (or what is stacked on it)
/// that may still be waiting for its first.
fn interfaces_with_advertisements() -> Result<Vec<String>, Error> {
    let mut socket = Socket::open()?;
    let routes = socket.dump(
        "IPv6 routes",
        &get_routes(INET6, RTPROT_RA),
        |_, payload| RouteEntry::decode(payload),
    )?;
    let advertised = |link: &Link| {
        routes
            .iter()
            .any(|r| r.protocol == RTPROT_RA && r.hops.iter().any(|h| h.ifindex == link.ifindex))
    };
    let links = socket.dump("links", &get_link(None), |_, payload| Link::decode(payload))?;
    let mut names = Vec::new();
    for link in links {
        let uplink = match link.kind.as_deref() {
            None => link.name != "lo",
            Some(kind) => matches!(kind, "vlan" | "bond" | "team"),
        };
        if link.name.starts_with(LINK_PREFIX)
            || !(uplink || advertised(&link))
            || !exists(&accept_ra(&link.name))
        {
            continue;
        }
        // With its own forwarding on, an interface that has accept_ra=1 ignores advertisements already: not ours to change.
        let forwarding = read(&format!("net/ipv6/conf/{}/forwarding", link.name))?;
        if forwarding == "0" && read(&accept_ra(&link.name))? == "1" {
            names.push(link.name);
        }
    }
    Ok(names)
}

fn accept_ra(interface: &str) -> String {
    format!("net/ipv6/conf/{interface}/accept_ra")
}

fn remember(record: &Path, changes: &[Change]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut originals = recorded(record)?;
    let before = originals.len();
    for change in changes {
        originals
            .entry(change.key.clone())
            .or_insert_with(|| change.from.clone());
    }
    if originals.len() == before {
        return Ok(());
    }
    let object = || record.display().to_string();
    let text = serde_json::to_vec_pretty(&originals).map_err(|e| Error::io(object(), e.into()))?;
    if let Some(folder) = record.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io(object(), e))?;
    }
    files::replace(record, &text).map_err(|e| Error::io(object(), e))
}

fn recorded(record: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = match fs::read(record) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Error::io(record.display().to_string(), e)),
    };
    // Only an uninstall needs it: a node whose disk lost it must not lose its pods as well.
    let originals: BTreeMap<String, String> = serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %record.display(), %error, "the record of the node's original sysctls is unreadable and begun anew");
        BTreeMap::new()
    });
    // The record is a file: it must not name anything but what we write.
    Ok(originals
        .into_iter()
        .filter(|(key, _)| is_ours(key))
        .collect())
}

fn is_ours(key: &str) -> bool {
    let interface = key
        .strip_prefix("net/ipv6/conf/")
        .and_then(|k| k.strip_suffix("/accept_ra"));
    key == IPV4_FORWARDING
        || key == IPV6_FORWARDING
        || interface.is_some_and(|i| !i.contains('/') && i != "..")
}

pub(crate) fn read(key: &str) -> Result<String, Error> {
    Ok(fs::read_to_string(path(key))
        .map_err(|e| Error::io(key, e))?
        .trim()
        .to_owned())
}

fn write(key: &str, value: &str) -> Result<(), Error> {
    fs::write(path(key), value).map_err(|e| Error::io(key, e))
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testnet::{ip, isolated};

    fn record(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("margay-sysctl-{name}-{}.json", std::process::id()))
    }

    #[test]
    fn forwarding_is_turned_on_once_and_put_back() {
        isolated(async || {
            let record = record("forwarding");
            ip("link add up0 type veth peer name up1");
            write("net/ipv4/ip_forward", "0").unwrap();
            write("net/ipv6/conf/all/forwarding", "0").unwrap();
            write("net/ipv6/conf/up0/accept_ra", "1").unwrap();
            ip("link set up0 up");
            ip("link set up1 up");
            ip("-6 route add default via fe80::99 dev up0 proto ra");
            let changes = enable_forwarding(&record).unwrap();
            assert_eq!(
                changes.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(),
                [
                    "net/ipv6/conf/up0/accept_ra",
                    IPV6_FORWARDING,
                    IPV4_FORWARDING
                ]
            );
            assert_eq!(read("net/ipv4/ip_forward").unwrap(), "1");
            assert_eq!(read("net/ipv6/conf/up0/accept_ra").unwrap(), "2");
            assert_eq!(
                read("net/ipv6/conf/up1/accept_ra").unwrap(),
                "1",
                "no route from an advertisement there"
            );
            assert_eq!(enable_forwarding(&record).unwrap(), []);
            // A second run after somebody changed it keeps the first original.
            write("net/ipv6/conf/up0/accept_ra", "1").unwrap();
            write("net/ipv6/conf/all/forwarding", "0").unwrap();
            enable_forwarding(&record).unwrap();
            restore(&record).unwrap();
            assert_eq!(read("net/ipv4/ip_forward").unwrap(), "0");
            assert_eq!(read("net/ipv6/conf/up0/accept_ra").unwrap(), "1");
            assert!(!record.exists());
            assert_eq!(restore(&record).unwrap(), []);
        });
    }

    #[test]
    fn a_torn_record_is_begun_anew() {
        isolated(async || {
            let record = record("torn");
            fs::write(&record, "{").unwrap();
            assert!(!enable_forwarding(&record).unwrap().is_empty());
            assert!(recorded(&record).unwrap().contains_key(IPV4_FORWARDING));
            fs::write(&record, "").unwrap();
            assert!(enable_forwarding(&record).unwrap().is_empty());
        });
    }

    #[test]
    fn a_record_cannot_name_other_sysctls() {
        assert!(is_ours("net/ipv4/ip_forward"));
        assert!(is_ours("net/ipv6/conf/eth0.7/accept_ra"));
        for key in [
            "kernel/core_pattern",
            "net/ipv6/conf/../../../kernel/accept_ra",
            "../etc/accept_ra",
            "net/ipv6/conf/../accept_ra",
        ] {
            assert!(!is_ours(key), "{key}");
        }
    }
}
