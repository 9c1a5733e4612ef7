//! Named states in, plans out.

mod bfd;
mod filters;
mod fixtures;
mod guard;
mod history;
mod identity;
mod peers;
mod pods;
mod readiness;
mod routes;
mod warnings;

use super::*;
use crate::speaker::Desired;
use fixtures::{
    Labelled, State, attachment, bgp_node, block, configuration, filter, learned, node,
    node_config, peer, pod, policy, secret, selector,
};
use margay_bgp::Asn;
use margay_ipam::Family;
use tokio::sync::oneshot;

/// The node that the engine under test runs on.
const SELF: &str = "a";

/// An engine without memory.
fn fresh() -> Engine {
    Engine::new(Start {
        node: SELF.to_owned(),
        ..Start::default()
    })
}

/// The plan of an agent that learns this state and nothing before it.
fn plan_of(state: &State) -> Plan {
    let mut engine = fresh();
    state.tell(&mut engine);
    engine.plan()
}

fn attach(attachment: Attachment) -> (Event, oneshot::Receiver<u64>) {
    let (reply, generation) = oneshot::channel();
    (Event::Attach(Box::new(attachment), reply), generation)
}

fn detach(link: &str) -> (Event, oneshot::Receiver<u64>) {
    let (reply, generation) = oneshot::channel();
    let link = link.to_owned();
    (Event::Detach { link, reply }, generation)
}

fn prefix(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
