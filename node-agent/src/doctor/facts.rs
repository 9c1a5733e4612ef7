//! What is looked at, and looking.

use super::Doctor;
use crate::kernel::{
    nft::{ForeignDrop, foreign_drops},
    survey::{Survey, survey},
};
use crate::{speaker::Session, watch::Outage};
use std::{collections::BTreeMap, fs, net::IpAddr};

/// Everything that the checks decide on.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The node's BGP addresses.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) kernel: Survey,
    pub(super) foreign: Vec<ForeignDrop>,
    /// By path below /proc/sys; what the kernel does not have is not in it.
    pub(super) sysctls: BTreeMap<String, String>,
    /// `uname -r`.
    pub(super) release: String,
    /// Why nobody can connect to the BGP port.
    pub(super) listener: Option<String>,
    pub(super) sessions: Vec<Session>,
    /// Why ADD is not served.
    pub(super) not_serving: Option<String>,
    /// Watches that have failed for a while.
    pub(super) outages: Vec<Outage>,
    /// Files that the runtime needs and that are not there.
    pub(super) missing_files: Vec<String>,
}

const SYSCTLS: [&str; 9] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv6/fib_multipath_hash_policy",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv6/neigh/default/gc_thresh3",
];

/// Looks. Blocks for some milliseconds.
pub(super) fn gather(doctor: &Doctor) -> Result<Facts, String> {
    let kernel = survey().map_err(|error| error.to_string())?;
    let foreign = foreign_drops().map_err(|error| error.to_string())?;
    let of_links = kernel
        .links
        .iter()
        .flat_map(|link| ["forwarding", "rp_filter"].map(|knob| of_link(&link.name, knob)));
    let keys: Vec<String> = SYSCTLS
        .map(str::to_owned)
        .into_iter()
        .chain(of_links)
        .collect();
    let plan = doctor.plans.borrow().clone();
    let identity = plan.identity.as_ref();
    let nowhere = identity
        .filter(|i| i.listen_addresses.as_ref().is_some_and(Vec::is_empty))
        .map(|_| {
            "a NodeConfig's listen.addresses leave no address of this node to listen on".to_owned()
        });
    let files = [&doctor.plugin, &doctor.conflist];
    Ok(Facts {
        addresses: identity.map(|i| i.addresses()).unwrap_or_default(),
        foreign,
        sysctls: keys
            .into_iter()
            .filter_map(|key| Some((key.clone(), read(&key)?)))
            .collect(),
        release: read("kernel/osrelease").unwrap_or_default(),
        listener: doctor.speaker.listener.borrow().clone().or(nowhere),
        sessions: doctor.speaker.sessions.borrow().to_vec(),
        outages: doctor.outages.lasting(),
        not_serving: doctor.serving.borrow().clone(),
        missing_files: files
            .into_iter()
            .filter(|path| !path.exists())
            .map(|path| path.display().to_string())
            .collect(),
        kernel,
    })
}

/// The IPv4 sysctl of a link, which an IPv6 packet does not ask for.
pub(super) fn of_link(link: &str, knob: &str) -> String {
    format!("net/ipv4/conf/{link}/{knob}")
}

fn read(key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{key}")).ok()?;
    Some(text.trim().to_owned())
}
