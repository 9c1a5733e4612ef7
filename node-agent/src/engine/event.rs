//! What the engine is told.

use super::pods::KnownPod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use margay_ipam::{Attachment, Block};
use margay_proto::{
    crd::{BGPConfiguration, BGPFilter, BGPNode, BGPPeer, IPPool, NodeConfig},
    slim::{Namespace, Node, Pod, Secret},
};
use tokio::sync::oneshot;

/// A change of one watched kind.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// The whole set, after a list: what is not in it is gone.
    Reset(Vec<K>),
    /// Created or changed.
    Apply(K),
    /// Gone.
    Delete(K),
}

/// Everything that may move the plan.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant a kind")]
pub enum Event {
    Nodes(Change<Node>),
    Pods(Change<Pod>),
    Namespaces(Change<Namespace>),
    Policies(Change<NetworkPolicy>),
    Pools(Change<IPPool>),
    Configurations(Change<BGPConfiguration>),
    Peers(Change<BGPPeer>),
    Filters(Change<BGPFilter>),
    BgpNodes(Change<BGPNode>),
    NodeConfigs(Change<NodeConfig>),
    /// Of the agents' namespace.
    Secrets(Change<Secret>),
    /// A pod link was made: program its policy and routes. Answered with the generation of the plan that holds it.
    Attach(Box<Attachment>, oneshot::Sender<u64>),
    /// An attachment is gone. Answered likewise.
    Detach {
        link: String,
        reply: oneshot::Sender<u64>,
    },
    /// Answered once the pod (namespace, name, UID or the static pod's config hash) and its namespace are known.
    AwaitPod {
        identity: PodIdentity,
        reply: oneshot::Sender<KnownPod>,
    },
    /// Own blocks changed.
    Blocks(Vec<Block>),
    /// Next hops that the speaker asks about.
    NextHops(std::sync::Arc<std::collections::BTreeSet<std::net::IpAddr>>),
    /// Routes learned from peers changed.
    Learned(std::sync::Arc<crate::speaker::Learned>),
    /// The node's own links, addresses and routes changed.
    Underlay(std::sync::Arc<crate::kernel::underlay::Snapshot>),
}

/// Who a pod is at ADD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodIdentity {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; for a static pod the hash of its configuration, which its mirror carries as an annotation. Empty when the runtime gave none.
    pub uid: String,
}
