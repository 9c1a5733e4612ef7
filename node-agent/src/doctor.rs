//! What may keep this node from carrying pods, found by looking: the node's part of `margayctl doctor`.
//!
//! ```text
//!  /proc, netlink ──► facts::gather ──► Facts ──► checks::diagnose ──► Finding, one a check at least
//!  plan, sessions ─┘        (IO)                    (pure)
//! ```
//! It runs when somebody asks, reads only, and repairs nothing. What needs the other nodes (MTUs, router ids) or objects (pools) is compared by
//! margayctl.

mod checks;
mod facts;

use crate::{engine::Plan, speaker::Handle, watch::Outages};
use facts::Facts;
use margay_proto::rpc::agent::{DoctorReply, Uplink};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::watch;

/// Where it looks.
#[derive(Clone, Debug)]
pub struct Doctor {
    /// This node.
    pub node: String,
    /// Its addresses.
    pub plans: watch::Receiver<Arc<Plan>>,
    /// Sessions and the listener.
    pub speaker: Handle,
    /// Why ADD is not served; none when it is.
    pub serving: watch::Receiver<Option<String>>,
    /// The watches that fail.
    pub outages: Outages,
    /// The installed plugin.
    pub plugin: PathBuf,
    /// The network configuration list.
    pub conflist: PathBuf,
}

impl Doctor {
    /// Looks once.
    ///
    /// # Errors
    /// A kernel that does not answer, in words.
    pub async fn examine(&self) -> Result<DoctorReply, String> {
        let mine = self.clone();
        // Reads a good part of /proc, so not on the runtime's threads.
        let facts = tokio::task::spawn_blocking(move || facts::gather(&mine))
            .await
            .map_err(|error| error.to_string())??;
        Ok(DoctorReply {
            node: self.node.clone(),
            findings: checks::diagnose(&facts),
            uplinks: uplinks(&facts),
        })
    }
}

/// The links of the node's BGP addresses; where those are on no uplink (a loopback), all uplinks.
fn uplinks(facts: &Facts) -> Vec<Uplink> {
    let all: Vec<_> = facts
        .kernel
        .links
        .iter()
        .filter(|l| l.is_uplink())
        .collect();
    let speaks = |link: &&&crate::kernel::survey::SurveyedLink| {
        link.addresses.iter().any(|a| facts.addresses.contains(a))
    };
    let mut chosen: Vec<_> = all.iter().filter(speaks).copied().collect();
    if chosen.is_empty() {
        chosen = all;
    }
    let shown = chosen.into_iter().map(|link| Uplink {
        name: link.name.clone(),
        mtu: link.mtu,
        addresses: link.addresses.iter().map(ToString::to_string).collect(),
    });
    shown.collect()
}
