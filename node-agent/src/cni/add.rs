//! ADD: the pod known, addresses, record, link, plan, kernel; a failure undoes all of it in reverse.

use super::{
    link_name,
    refusal::Refusal,
    server::{APPLY_WAIT, Server, ending, key, mac},
};
use crate::{
    engine::{Event, KnownPod, PodIdentity},
    fault,
    kernel::{
        link::{self, Wire},
        netns,
    },
};
use margay_ipam::{Attachment, Netns};
use margay_proto::{names, rpc::cni as rpc};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long the whole verb waits: less than the plugin does, so that it hears why, and nothing is made for a caller who gave up.
const ADD_WAIT: Duration = Duration::from_millis(3500);
/// How long of that for the watch to bring the pod.
const POD_WAIT: Duration = Duration::from_secs(2);
/// And for a block to be claimed.
const CLAIM_WAIT: Duration = Duration::from_millis(2500);

/// When ADD stops waiting.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    /// What is left of the time, `most` at most.
    fn left(self, most: Duration) -> Duration {
        self.0.saturating_duration_since(Instant::now()).min(most)
    }
}

impl Server {
    /// The whole verb; whom it is refused is told.
    pub(super) async fn add_pod(&self, request: &rpc::Request) -> Result<rpc::AddReply, Refusal> {
        let identity = pod_identity(request)?;
        let result = self.attach(request, identity.clone()).await;
        if let Err(refusal) = &result {
            self.told.refused(&identity, refusal);
        }
        result
    }

    async fn attach(
        &self,
        request: &rpc::Request,
        identity: PodIdentity,
    ) -> Result<rpc::AddReply, Refusal> {
        if let Some(why) = self.serving.borrow().clone() {
            return Err(Refusal::NotServing(why));
        }
        let deadline = Deadline(Instant::now() + ADD_WAIT);
        // From before the waits on: a DEL that comes meanwhile undoes all of it, not what was there when it came.
        let _turn = self.turns.take(&link_name(&key(request))).await;
        fault::point("add: its turn");
        if deadline.left(ADD_WAIT).is_zero() {
            return Err(Refusal::TryAgain(
                "an earlier call for this container took all the time there was".to_owned(),
            ));
        }
        let known = self.await_pod(identity.clone(), deadline).await?;
        fault::point("add: pod known");
        let namespace = pod_namespace(&request.netns)?;
        let asked = Attachment {
            key: key(request),
            namespace: identity.namespace,
            pod: identity.name,
            uid: known.uid,
            netns: Netns {
                path: namespace.path,
                device: namespace.device,
                inode: namespace.inode,
            },
            addresses: Vec::new(),
        };
        let attachment = self
            .addresses
            .allocate(asked, known.wish, deadline.left(CLAIM_WAIT))
            .await
            .map_err(Refusal::NoAddress)?;
        fault::point("add: addresses taken");
        let wired = self.wire(&attachment, deadline).await;
        fault::point("add: wired");
        match wired {
            Ok(wire) => Ok(self.result(&attachment, &wire)),
            Err(refusal) => Err(self.undo(&attachment, refusal).await),
        }
    }

    /// Record, link, plan: in this order, so that whatever is cut off is found by its record.
    async fn wire(&self, attachment: &Attachment, deadline: Deadline) -> Result<Wire, Refusal> {
        self.records.put(attachment).map_err(|e| {
            Refusal::Io(format!("attachment record in {}: {e}", names::ATTACHMENTS))
        })?;
        fault::point("add: recorded");
        let pod_link = self.pod_link(attachment);
        // No route leads to the addresses yet, so none of what is forgotten comes back before the rules are there.
        let (wire, forgotten) = tokio::join!(
            link::create(&pod_link),
            self.flows.forget(attachment.addresses.clone())
        );
        let wire = wire.map_err(|e| Refusal::Io(e.to_string()))?;
        forgotten.map_err(|e| {
            Refusal::NotProgrammed(format!("flows of the addresses' last owner remain: {e}"))
        })?;
        fault::point("add: link made");
        let (reply, generation) = oneshot::channel();
        self.tell(Event::Attach(Box::new(attachment.clone()), reply))
            .await?;
        fault::point("add: engine told");
        let generation = generation.await.map_err(|_| ending())?;
        fault::point("add: planned");
        let applied = self.applied(generation, deadline.left(APPLY_WAIT)).await?;
        fault::point("add: applied");
        if let Some(error) = applied.policy_error {
            return Err(Refusal::NotProgrammed(format!(
                "policy of {}/{} is not in the kernel: {error}",
                attachment.namespace, attachment.pod
            )));
        }
        let refused = |address: &std::net::IpAddr| {
            applied
                .failed
                .get(&ipnetwork::IpNetwork::from(*address))
                .map(|e| format!("route {address}: {e}"))
        };
        match attachment.addresses.iter().find_map(refused) {
            Some(error) => Err(Refusal::NotProgrammed(error)),
            None => Ok(wire),
        }
    }

    /// Undoes everything, and goes on after a failure so that as little as possible stays; reports all.
    async fn undo(&self, attachment: &Attachment, refusal: Refusal) -> Refusal {
        match self.detach_in_turn(&attachment.key).await {
            Ok(()) => refusal,
            Err(also) => Refusal::NotUndone(Box::new(refusal), Box::new(also)),
        }
    }

    /// The pod, once it is known.
    async fn await_pod(
        &self,
        identity: PodIdentity,
        deadline: Deadline,
    ) -> Result<KnownPod, Refusal> {
        let name = format!("{}/{}", identity.namespace, identity.name);
        let (reply, known) = oneshot::channel();
        self.tell(Event::AwaitPod { identity, reply }).await?;
        fault::point("add: pod asked for");
        match tokio::time::timeout(deadline.left(POD_WAIT), known).await {
            Ok(Ok(known)) => Ok(known),
            Ok(Err(_)) => Err(ending()),
            Err(_) => Err(Refusal::TryAgain(format!(
                "pod {name} is not known to this node's agent yet: its watch of Pods lags or the pod was deleted"
            ))),
        }
    }

    fn result(&self, attachment: &Attachment, wire: &Wire) -> rpc::AddReply {
        let mtu = self.plans.borrow().mtu;
        let host = rpc::Interface {
            name: link_name(&attachment.key),
            mac: wire.host_mac.to_string(),
            mtu,
            sandbox: String::new(),
        };
        let pod = rpc::Interface {
            name: attachment.key.ifname.clone(),
            mac: mac(&attachment.key).to_string(),
            mtu,
            sandbox: attachment.netns.path.display().to_string(),
        };
        let gateway = |a: &std::net::IpAddr| {
            if a.is_ipv4() {
                names::GATEWAY_V4.to_string()
            } else {
                names::GATEWAY_V6.to_string()
            }
        };
        let address = |a: &std::net::IpAddr| rpc::Address {
            address: ipnetwork::IpNetwork::from(*a).to_string(),
            gateway: gateway(a),
            interface: 1,
        };
        let route = |a: &std::net::IpAddr| rpc::Route {
            destination: if a.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.to_owned(),
            gateway: gateway(a),
        };
        let first = attachment.key.ifname == "eth0";
        rpc::AddReply {
            error: None,
            interfaces: vec![host, pod],
            addresses: attachment.addresses.iter().map(address).collect(),
            routes: attachment
                .addresses
                .iter()
                .filter(|_| first)
                .map(route)
                .collect(),
        }
    }
}

/// The pod's network namespace; never the node's own, into which a link would move with its addresses and default route.
fn pod_namespace(path: &str) -> Result<netns::Identity, Refusal> {
    let identify = |path: &str| {
        netns::Identity::of(&PathBuf::from(path))
            .map_err(|e| Refusal::UnknownContainer(e.to_string()))
    };
    let (pod, own) = (identify(path)?, identify("/proc/self/ns/net")?);
    if (pod.device, pod.inode) == (own.device, own.inode) {
        return Err(Refusal::UnknownContainer(format!(
            "CNI_NETNS {path} is the node's own network namespace, not a pod's"
        )));
    }
    Ok(pod)
}

fn pod_identity(request: &rpc::Request) -> Result<PodIdentity, Refusal> {
    if request.pod_namespace.is_empty() || request.pod_name.is_empty() {
        return Err(Refusal::InvalidConfig(
            "CNI_ARGS names no pod: K8S_POD_NAMESPACE and K8S_POD_NAME are required".to_owned(),
        ));
    }
    Ok(PodIdentity {
        namespace: request.pod_namespace.clone(),
        name: request.pod_name.clone(),
        uid: request.pod_uid.clone(),
    })
}
