//! What this node watches.

use super::Wiring;
use crate::{
    engine::{Change, Event},
    watch,
};
use kube::{Api, Client, Resource, runtime::watcher};
use margay_proto::{crd::IPBlock, names};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tokio::sync::mpsc;

impl Wiring {
    /// Starts a task for each kind. Everything goes to the engine but the node's own blocks, which go to whoever owns addresses.
    pub(super) fn watches(
        &mut self,
        client: &Client,
        events: &mpsc::Sender<Event>,
        blocks: mpsc::Sender<Change<IPBlock>>,
    ) {
        self.all(client, events, Event::Nodes);
        self.all(client, events, Event::Pods);
        self.all(client, events, Event::Namespaces);
        self.all(client, events, Event::Policies);
        self.all(client, events, Event::Pools);
        self.all(client, events, Event::Configurations);
        self.all(client, events, Event::Peers);
        self.all(client, events, Event::Filters);
        self.all(client, events, Event::BgpNodes);
        self.all(client, events, Event::NodeConfigs);
        let every = watcher::Config::default();
        let secrets = Api::namespaced(client.clone(), names::NAMESPACE);
        self.watch(secrets, every.clone(), Event::Secrets, events.clone());
        let own = every.fields(&format!("spec.nodeName={}", self.options.node));
        self.watch(Api::all(client.clone()), own, |change| change, blocks);
    }

    fn all<K>(
        &mut self,
        client: &Client,
        events: &mpsc::Sender<Event>,
        wrap: fn(Change<K>) -> Event,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let config = watcher::Config::default();
        self.watch(Api::all(client.clone()), config, wrap, events.clone());
    }

    fn watch<K, E>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        wrap: fn(Change<K>) -> E,
        to: mpsc::Sender<E>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        E: Send + 'static,
    {
        let outages = self.outages.clone();
        self.spawn(watch::run(api, config, wrap, to, outages));
    }
}
