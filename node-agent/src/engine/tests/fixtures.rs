//! Objects with defaults, and a whole state of a small cluster.

use super::{super::*, SELF, attach, detach};
use crate::kernel::events::{self, Address, Link, RouteEntry, RouteHop};
use k8s_openapi::{
    ByteString,
    api::networking::v1::{NetworkPolicy, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
    jiff::Timestamp,
};
use kube::{Resource, ResourceExt};
use margay_bgp::{LearnedPath, LearnedRoute, wire::Attributes};
use margay_ipam::{AttachmentKey, Netns};
use margay_proto::{
    crd::{
        BGPConfiguration, BGPConfigurationSpec, BGPFilter, BGPFilterSpec, BGPNode, BGPNodeSpec,
        BGPPeer, BGPPeerSpec, Condition, IPPool, IPPoolSpec, IPPoolStatus, NodeConfig,
        NodeConfigSpec,
    },
    slim::{Namespace, Node, NodeAddress, Pod, Secret},
};

pub(super) trait Labelled: ResourceExt + Sized {
    fn label(mut self, key: &str, value: &str) -> Self {
        self.labels_mut().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Another version of the same object, as a heartbeat makes.
    fn version(mut self, version: &str) -> Self {
        self.meta_mut().resource_version = Some(version.to_owned());
        self
    }
}

impl<K: Resource<DynamicType = ()> + ResourceExt> Labelled for K {}

pub(super) fn selector(key: &str, value: &str) -> Option<LabelSelector> {
    Some(LabelSelector {
        match_labels: Some([(key.to_owned(), value.to_owned())].into()),
        match_expressions: None,
    })
}

pub(super) fn node(name: &str, addresses: &[&str]) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    node.metadata.uid = Some(format!("uid-{name}"));
    let reported = |address: &&str| NodeAddress {
        type_: "InternalIP".to_owned(),
        address: (*address).to_owned(),
    };
    node.status.addresses = addresses.iter().map(reported).collect();
    node
}

pub(super) fn configuration(as_number: u32, mesh: &str) -> BGPConfiguration {
    let spec = serde_json::json!({"asNumber": as_number, "mesh": mesh});
    let spec: BGPConfigurationSpec = serde_json::from_value(spec).unwrap();
    BGPConfiguration::new("default", spec)
}

pub(super) fn node_config(name: &str, spec: NodeConfigSpec) -> NodeConfig {
    NodeConfig::new(name, spec)
}

/// From JSON, as users write it.
pub(super) fn peer(name: &str, spec: serde_json::Value) -> BGPPeer {
    BGPPeer::new(name, serde_json::from_value::<BGPPeerSpec>(spec).unwrap())
}

/// With one value, and the annotation that `kubectl apply` leaves.
pub(super) fn secret(name: &str, key: &str, value: &str) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some(name.to_owned());
    secret.metadata.annotations = Some([("last-applied".to_owned(), value.to_owned())].into());
    secret
        .data
        .insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
    secret
}

/// From JSON, as users write it.
pub(super) fn filter(name: &str, spec: serde_json::Value) -> BGPFilter {
    BGPFilter::new(name, serde_json::from_value::<BGPFilterSpec>(spec).unwrap())
}

pub(super) fn bgp_node(name: &str, as_number: u32, addresses: &[&str]) -> BGPNode {
    let spec = BGPNodeSpec {
        as_number,
        router_id: addresses
            .iter()
            .find(|a| !a.contains(':'))
            .unwrap_or(&"9.9.9.9")
            .to_string(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        listen_port: 179,
        node_uid: format!("uid-{name}"),
    };
    BGPNode::new(name, spec)
}

/// Active, with translation.
pub(super) fn pool(name: &str, cidr: &str) -> IPPool {
    let spec = IPPoolSpec {
        cidr: cidr.to_owned(),
        nat_outgoing: true,
        ..IPPoolSpec::default()
    };
    let active = Condition {
        type_: "Active".to_owned(),
        status: "True".to_owned(),
        reason: "NoOverlap".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    };
    let status = IPPoolStatus {
        conditions: vec![active],
        ..IPPoolStatus::default()
    };
    IPPool {
        status: Some(status),
        ..IPPool::new(name, spec)
    }
}

pub(super) fn block(cidr: &str) -> Block {
    let cidr: IpNetwork = cidr.parse().unwrap();
    Block {
        cidr,
        pool: if cidr.is_ipv4() { "v4" } else { "v6" }.to_owned(),
        node: SELF.to_owned(),
    }
}

pub(super) fn pod(name: &str, node: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.namespace = Some("default".to_owned());
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.uid = Some(format!("uid-{name}"));
    pod.spec.node_name = Some(node.to_owned());
    pod
}

/// Of the pod `name` of the namespace `default`.
pub(super) fn attachment(container: &str, name: &str, addresses: &[&str]) -> Attachment {
    Attachment {
        key: AttachmentKey::new(container, "eth0"),
        namespace: "default".to_owned(),
        pod: name.to_owned(),
        uid: format!("uid-{name}"),
        netns: Netns::default(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

/// Nothing may come in to the pods of the namespace `default` that carry app=`app`.
pub(super) fn policy(name: &str, app: &str) -> NetworkPolicy {
    let mut policy = NetworkPolicy::default();
    policy.metadata.namespace = Some("default".to_owned());
    policy.metadata.name = Some(name.to_owned());
    policy.spec = Some(NetworkPolicySpec {
        pod_selector: selector("app", app),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ..NetworkPolicySpec::default()
    });
    policy
}

/// Prefixes and the next hops of each; decided, so that what is missing may go.
pub(super) fn learned(routes: &[(&str, &[&str])]) -> Learned {
    let path = |hop: &&str| LearnedPath {
        peer: hop.parse().unwrap(),
        next_hop: hop.parse::<IpAddr>().unwrap().into(),
        metric: 0,
        attributes: Arc::new(Attributes::default()),
        stale: false,
    };
    let route = |(prefix, hops): &(&str, &[&str])| LearnedRoute {
        prefix: prefix.parse().unwrap(),
        paths: hops.iter().map(path).collect(),
    };
    Learned::decided(routes.iter().map(route))
}

pub(super) fn link(ifindex: u32, name: &str, mtu: u32) -> events::Event {
    events::Event::Link(Link {
        ifindex,
        name: name.to_owned(),
        mtu,
        up: true,
        carrier: true,
        mac: None,
        alias: None,
        peer_netns: None,
        peer_ifindex: None,
        addr_gen_mode: None,
        kind: None,
    })
}

pub(super) fn address(ifindex: u32, ip: &str, prefix_len: u8, flags: u32) -> events::Event {
    events::Event::Address(Address {
        ifindex,
        ip: ip.parse().unwrap(),
        prefix_len,
        flags,
    })
}

/// An uplink 172.31.0.1/24 and fd31::1/64 of MTU 1400, and default routes over it.
fn underlay() -> Vec<events::Event> {
    let route = |prefix: &str, gateway: Option<&str>| events::Event::Route {
        entry: RouteEntry {
            prefix: prefix.parse().unwrap(),
            table: 254,
            protocol: 2,
            kind: 1,
            tos: 0,
            metric: 7,
            src: None,
            nexthop: None,
            hops: vec![RouteHop {
                gateway: gateway.map(|g| g.parse().unwrap()),
                ifindex: 2,
            }],
        },
        replaces: false,
    };
    vec![
        link(2, "up0", 1400),
        address(2, "172.31.0.1", 24, 0),
        address(2, "fd31::1", 64, 0),
        route("172.31.0.0/24", None),
        route("fd31::/64", None),
        route("198.51.100.0/24", Some("172.31.0.254")),
    ]
}

/// Everything an engine can be told.
#[derive(Clone)]
pub(super) struct State {
    pub(super) inputs: Inputs,
    pub(super) pods: Vec<Pod>,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) policies: Vec<NetworkPolicy>,
    pub(super) blocks: Vec<Block>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) underlay: Arc<Snapshot>,
    pub(super) learned: Learned,
    pub(super) next_hops: BTreeSet<IpAddr>,
}

impl State {
    /// Nothing but an uplink.
    pub(super) fn empty() -> Self {
        Self {
            inputs: Inputs::default(),
            pods: Vec::new(),
            namespaces: Vec::new(),
            policies: Vec::new(),
            blocks: Vec::new(),
            attachments: Vec::new(),
            underlay: Arc::new(Snapshot::told(underlay())),
            learned: learned(&[]),
            next_hops: BTreeSet::new(),
        }
    }

    /// Two dual-stack nodes in a mesh, and the pod `web` on this one.
    pub(super) fn cluster() -> Self {
        let mut default = Namespace::default();
        default.metadata.name = Some("default".to_owned());
        Self {
            pods: vec![pod("web", SELF).label("app", "web")],
            namespaces: vec![default],
            blocks: vec![block("10.244.0.0/26"), block("fd44::/122")],
            attachments: vec![attachment("c1", "web", &["10.244.0.1", "fd44::1"])],
            learned: learned(&[("10.244.0.64/26", &["172.31.0.2"])]),
            next_hops: ["172.31.0.2".parse().unwrap()].into(),
            ..Self::empty()
        }
        .with(node(SELF, &["172.31.0.1", "fd31::1"]))
        .with(node("b", &["172.31.0.2", "fd31::2"]))
        .with(configuration(64512, "Full"))
        .with(bgp_node("b", 64512, &["172.31.0.2", "fd31::2"]))
        .with(pool("v4", "10.244.0.0/16"))
        .with(pool("v6", "fd44::/112"))
    }

    /// With more of links and addresses.
    pub(super) fn on(mut self, more: &[events::Event]) -> Self {
        let events = underlay().into_iter().chain(more.iter().cloned());
        self.underlay = Arc::new(Snapshot::told(events));
        self
    }

    pub(super) fn with(mut self, object: impl Input) -> Self {
        object.put(&mut self.inputs);
        self
    }

    /// As events: whole lists, and the attachments one by one.
    pub(super) fn events(&self) -> Vec<Event> {
        fn all<K: Clone>(objects: &BTreeMap<String, K>) -> Change<K> {
            Change::Reset(objects.values().cloned().collect())
        }
        let inputs = &self.inputs;
        let mut events = vec![
            Event::Nodes(all(&inputs.nodes)),
            Event::Pools(all(&inputs.pools)),
            Event::Configurations(all(&inputs.configurations)),
            Event::Peers(all(&inputs.peers)),
            Event::Filters(all(&inputs.filters)),
            Event::BgpNodes(all(&inputs.bgp_nodes)),
            Event::NodeConfigs(all(&inputs.node_configs)),
            Event::Secrets(all(&inputs.secrets)),
            Event::Pods(Change::Reset(self.pods.clone())),
            Event::Namespaces(Change::Reset(self.namespaces.clone())),
            Event::Policies(Change::Reset(self.policies.clone())),
            Event::Blocks(self.blocks.clone()),
            Event::Learned(Arc::new(self.learned.clone())),
            Event::NextHops(Arc::new(self.next_hops.clone())),
            Event::Underlay(self.underlay.clone()),
        ];
        let attached = self.attachments.iter().cloned();
        events.extend(attached.map(|a| attach(a).0));
        events
    }

    /// Detaches what an engine holds and this state does not.
    pub(super) fn detached(&self, engine: &Engine) -> Vec<Event> {
        engine
            .attachments()
            .filter(|a| !self.attachments.contains(a))
            .map(|a| detach(&link_name(&a.key)).0)
            .collect()
    }

    pub(super) fn tell(&self, engine: &mut Engine) {
        for event in self.detached(engine).into_iter().chain(self.events()) {
            engine.handle(event);
        }
    }
}

/// An object of [`Inputs`].
pub(super) trait Input {
    fn put(self, inputs: &mut Inputs);
}

macro_rules! input {
    ($($kind:ty => $field:ident),*) => {
        $(impl Input for $kind {
            fn put(self, inputs: &mut Inputs) {
                inputs.$field.insert(self.name_any(), self);
            }
        })*
    };
}

input!(Node => nodes, IPPool => pools, BGPConfiguration => configurations, BGPPeer => peers, BGPFilter => filters, BGPNode => bgp_nodes, NodeConfig => node_configs, Secret => secrets);
