//! What this node watches.

use super::Tasks;
use crate::{
    engine::{Change, Event},
    watch,
};
use kube::{Api, Client, Resource, runtime::watcher};
use margay_proto::{crd::IPBlock, names};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tokio::sync::mpsc;

/// Starts a task for each kind. Everything goes to the engine but the node's own blocks, which go to whoever owns addresses.
pub(super) fn start(
    tasks: &mut Tasks,
    client: &Client,
    node: &str,
    events: &mpsc::Sender<Event>,
    blocks: mpsc::Sender<Change<IPBlock>>,
) {
    all(tasks, client, events, Event::Nodes);
    all(tasks, client, events, Event::Pods);
    all(tasks, client, events, Event::Namespaces);
    all(tasks, client, events, Event::Policies);
    all(tasks, client, events, Event::Pools);
    all(tasks, client, events, Event::Configurations);
    all(tasks, client, events, Event::Peers);
    all(tasks, client, events, Event::BgpNodes);
    all(tasks, client, events, Event::NodeConfigs);
    tasks.spawn(watch::run(
        Api::namespaced(client.clone(), names::NAMESPACE),
        watcher::Config::default(),
        Event::Secrets,
        events.clone(),
    ));
    let own = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    tasks.spawn(watch::run(
        Api::all(client.clone()),
        own,
        |change| change,
        blocks,
    ));
}

fn all<K>(
    tasks: &mut Tasks,
    client: &Client,
    events: &mpsc::Sender<Event>,
    wrap: fn(Change<K>) -> Event,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default();
    tasks.spawn(watch::run(
        Api::all(client.clone()),
        config,
        wrap,
        events.clone(),
    ));
}
