//! The CNI verbs, path (a) of the architecture.
//!
//! ```text
//! ADD: pod known? ─► addresses ─► record ─► link ─► plan generation g ─► kernel has g ─► reply
//!        (≤ 2 s)      (memory)    (file)   (veth)      (engine)          (actuate)
//! ```
//! A failure undoes in reverse. DEL does the same backwards, needs no API server, and touches only its own container id. Every verb may be
//! repeated, reordered or cut off at any line: the record on disk says what there is to finish.

use super::{Records, Turns, link_name, previous};
use crate::{
    actuate::Applied,
    addresses,
    engine::{Event, Plan, PodIdentity},
    health::Metrics,
    kernel::{
        link::{self, Mac, PodLink, Wire},
        netns,
    },
};
use margay_ipam::{Attachment, AttachmentKey, Netns};
use margay_proto::{
    names,
    rpc::cni::{self as rpc, cni_server::Cni},
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Request, Response, Status};

/// How long ADD waits for the watch to bring the pod.
const POD_WAIT: Duration = Duration::from_secs(2);
/// How long ADD and DEL wait for the kernel to hold their plan. It takes milliseconds; this bounds a wedge.
const APPLY_WAIT: Duration = Duration::from_secs(2);

/// A CNI error, by what the runtime does next.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// CNI code 11: the runtime tries again.
    #[error("{0}")]
    TryAgain(String),
    /// CNI code 7: the network configuration is wrong.
    #[error("{0}")]
    InvalidConfig(String),
    /// CNI code 3: the container is not what it should be.
    #[error("{0}")]
    UnknownContainer(String),
    /// CNI code 50: nothing can be added on this node now.
    #[error("{0}")]
    NotAvailable(String),
    /// CNI code 5: the node's file system or kernel refused.
    #[error("{0}")]
    Io(String),
    /// CNI code 100, ours: CHECK found a difference.
    #[error("{0}")]
    Mismatch(String),
}

impl Refusal {
    fn code(&self) -> u32 {
        match self {
            Self::UnknownContainer(_) => 3,
            Self::Io(_) => 5,
            Self::InvalidConfig(_) => 7,
            Self::TryAgain(_) => 11,
            Self::NotAvailable(_) => 50,
            Self::Mismatch(_) => 100,
        }
    }
}

impl From<Refusal> for rpc::Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code(),
            message: refusal.to_string(),
            details: String::new(),
        }
    }
}

/// What the server works with; every part is a handle.
#[derive(Clone, Debug)]
pub struct Server {
    /// To the engine's task.
    pub engine: mpsc::Sender<Event>,
    /// To the addresses' task.
    pub addresses: addresses::Handle,
    /// What is in the kernel.
    pub applied: watch::Receiver<Applied>,
    /// For the MTU.
    pub plans: watch::Receiver<Arc<Plan>>,
    /// Why ADD is not served; none when it is.
    pub serving: watch::Receiver<Option<String>>,
    /// Attachments on disk.
    pub records: Records,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who works on which link.
    pub turns: Turns,
}

#[tonic::async_trait]
impl Cni for Server {
    async fn add(&self, request: Request<rpc::Request>) -> Result<Response<rpc::AddReply>, Status> {
        let request = request.into_inner();
        let started = Instant::now();
        // On its own task: a runtime that hangs up must not leave half an ADD behind.
        let this = self.clone();
        let result = tokio::spawn(async move { this.attach(&request).await })
            .await
            .map_err(|e| Status::internal(e.to_string()))?;
        self.metrics
            .cni_call("ADD", outcome(&result), started.elapsed());
        Ok(Response::new(result.unwrap_or_else(|refusal| {
            tracing::warn!(error = %refusal, "ADD refused");
            rpc::AddReply {
                error: Some(refusal.into()),
                ..rpc::AddReply::default()
            }
        })))
    }

    async fn del(&self, request: Request<rpc::Request>) -> Result<Response<rpc::Reply>, Status> {
        let request = request.into_inner();
        let started = Instant::now();
        let this = self.clone();
        let result = tokio::spawn(async move { this.detach(&key(&request)).await })
            .await
            .map_err(|e| Status::internal(e.to_string()))?;
        Ok(self.reply("DEL", started, result))
    }

    async fn check(&self, request: Request<rpc::Request>) -> Result<Response<rpc::Reply>, Status> {
        let started = Instant::now();
        let result = self.compare(&request.into_inner()).await;
        Ok(self.reply("CHECK", started, result))
    }

    async fn status(&self, _: Request<rpc::Request>) -> Result<Response<rpc::Reply>, Status> {
        let why_not = self.serving.borrow().clone();
        Ok(self.reply(
            "STATUS",
            Instant::now(),
            why_not.map_or(Ok(()), |why| Err(Refusal::NotAvailable(why))),
        ))
    }

    async fn gc(&self, request: Request<rpc::GcRequest>) -> Result<Response<rpc::Reply>, Status> {
        let started = Instant::now();
        let result = self.collect(&request.into_inner()).await;
        Ok(self.reply("GC", started, result))
    }
}

impl Server {
    fn reply(
        &self,
        verb: &'static str,
        started: Instant,
        result: Result<(), Refusal>,
    ) -> Response<rpc::Reply> {
        self.metrics
            .cni_call(verb, outcome(&result), started.elapsed());
        if let Err(error) = &result {
            tracing::warn!(verb, %error, "refused");
        }
        Response::new(rpc::Reply {
            error: result.err().map(Into::into),
        })
    }

    async fn attach(&self, request: &rpc::Request) -> Result<rpc::AddReply, Refusal> {
        if let Some(why) = self.serving.borrow().clone() {
            return Err(Refusal::TryAgain(format!(
                "this node cannot start pods yet: {why}"
            )));
        }
        let identity = pod_identity(request)?;
        // From before the waits on: a DEL that comes meanwhile undoes all of it, not what was there when it came.
        let _turn = self.turns.take(&link_name(&key(request))).await;
        let uid = self.await_pod(identity.clone()).await?;
        let namespace = pod_namespace(&request.netns)?;
        let asked = Attachment {
            key: key(request),
            namespace: identity.namespace,
            pod: identity.name,
            uid,
            netns: Netns {
                path: namespace.path,
                device: namespace.device,
                inode: namespace.inode,
            },
            addresses: Vec::new(),
        };
        let attachment = self
            .addresses
            .allocate(asked)
            .await
            .map_err(|e| Refusal::TryAgain(e.to_string()))?;
        match self.wire(&attachment).await {
            Ok(wire) => Ok(self.result(&attachment, &wire)),
            Err(refusal) => Err(self.undo(&attachment, refusal).await),
        }
    }

    /// Record, link, plan: in this order, so that whatever is cut off is found by its record.
    async fn wire(&self, attachment: &Attachment) -> Result<Wire, Refusal> {
        self.records.put(attachment).map_err(|e| {
            Refusal::Io(format!("attachment record in {}: {e}", names::ATTACHMENTS))
        })?;
        let wire = link::create(&self.pod_link(attachment))
            .await
            .map_err(|e| Refusal::Io(e.to_string()))?;
        let (reply, generation) = oneshot::channel();
        self.tell(Event::Attach(Box::new(attachment.clone()), reply))
            .await?;
        let generation = generation.await.map_err(|_| ending())?;
        let applied = self.applied(generation).await?;
        if let Some(error) = applied.policy_error {
            return Err(Refusal::TryAgain(format!(
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
            Some(error) => Err(Refusal::TryAgain(error)),
            None => Ok(wire),
        }
    }

    /// Undoes everything, and goes on after a failure so that as little as possible stays; reports all.
    async fn undo(&self, attachment: &Attachment, refusal: Refusal) -> Refusal {
        match self.detach_in_turn(&attachment.key).await {
            Ok(()) => refusal,
            Err(also) => Refusal::TryAgain(format!("{refusal}; and undoing it: {also}")),
        }
    }

    async fn detach(&self, key: &AttachmentKey) -> Result<(), Refusal> {
        let _turn = self.turns.take(&link_name(key)).await;
        self.detach_in_turn(key).await
    }

    /// Rules and routes first, then the link: without rules it drops whatever still comes, and no route is left to a link that is gone.
    ///
    /// The record goes last but for the address: until it is gone, whoever comes after a failure half-way finds what is left to do.
    pub(super) async fn detach_in_turn(&self, key: &AttachmentKey) -> Result<(), Refusal> {
        let name = link_name(key);
        let (reply, generation) = oneshot::channel();
        let link = name.clone();
        self.tell(Event::Detach { link, reply }).await?;
        let generation = generation.await.map_err(|_| ending())?;
        // The address may be given to another pod only after the rules that name it are gone.
        self.applied(generation).await?;
        link::delete(&name)
            .await
            .map_err(|e| Refusal::Io(e.to_string()))?;
        self.records.remove(key).map_err(|e| {
            Refusal::Io(format!("attachment record in {}: {e}", names::ATTACHMENTS))
        })?;
        self.addresses
            .release(key.clone())
            .await
            .map_err(|e| Refusal::TryAgain(e.to_string()))
    }

    async fn compare(&self, request: &rpc::Request) -> Result<(), Refusal> {
        let name = link_name(&key(request));
        let _turn = self.turns.take(&name).await;
        let Some(attachment) = self.records.of_link(&name) else {
            return Err(Refusal::UnknownContainer(format!(
                "container {} has no attachment {} on this node",
                request.container_id, request.ifname
            )));
        };
        previous::agrees(&request.config, &attachment)?;
        let Some(wanted) = self.as_made(&attachment).await else {
            return Err(Refusal::TryAgain(
                "this node's MTU is not known yet".to_owned(),
            ));
        };
        link::check(&wanted)
            .await
            .map_err(|e| Refusal::Mismatch(e.to_string()))?;
        Ok(())
    }

    async fn collect(&self, request: &rpc::GcRequest) -> Result<(), Refusal> {
        let valid = |a: &Attachment| {
            request
                .valid
                .iter()
                .any(|v| v.container_id == a.key.container_id && v.ifname == a.key.ifname)
        };
        let mut errors = Vec::new();
        for attachment in self
            .records
            .load()
            .map_err(|e| Refusal::Io(e.to_string()))?
            .iter()
            .filter(|a| !valid(a))
        {
            if let Err(error) = self.detach(&attachment.key).await {
                errors.push(error.to_string());
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Io(errors.join("; ")))
        }
    }

    pub(super) fn pod_link(&self, attachment: &Attachment) -> PodLink {
        PodLink {
            host_name: link_name(&attachment.key),
            netns: attachment.netns.path.clone(),
            ifname: attachment.key.ifname.clone(),
            mac: mac(&attachment.key),
            mtu: self.plans.borrow().mtu,
            addresses: attachment.addresses.clone(),
            alias: format!("{}/{}", attachment.namespace, attachment.pod),
            default_route: attachment.key.ifname == "eth0",
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

    /// The UID that policy knows the pod by, once it is known.
    async fn await_pod(&self, identity: PodIdentity) -> Result<String, Refusal> {
        let name = format!("{}/{}", identity.namespace, identity.name);
        let (reply, known) = oneshot::channel();
        self.tell(Event::AwaitPod { identity, reply }).await?;
        match tokio::time::timeout(POD_WAIT, known).await {
            Ok(Ok(uid)) => Ok(uid),
            Ok(Err(_)) => Err(ending()),
            Err(_) => Err(Refusal::TryAgain(format!(
                "pod {name} is not known to this node's agent yet: its watch of Pods lags or the pod was deleted"
            ))),
        }
    }

    async fn applied(&self, generation: u64) -> Result<Applied, Refusal> {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|a| a.generation >= generation);
        match tokio::time::timeout(APPLY_WAIT, reached).await {
            Ok(Ok(applied)) => Ok(applied.clone()),
            Ok(Err(_)) => Err(ending()),
            Err(_) => Err(Refusal::TryAgain(format!(
                "the kernel did not take plan generation {generation} within {} s",
                APPLY_WAIT.as_secs()
            ))),
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Refusal> {
        self.engine.send(event).await.map_err(|_| ending())
    }
}

/// `ok`, or the CNI error code.
fn outcome<T>(result: &Result<T, Refusal>) -> String {
    result
        .as_ref()
        .map_or_else(|refusal| refusal.code().to_string(), |_| "ok".to_owned())
}

fn ending() -> Refusal {
    Refusal::TryAgain("the agent is ending; its successor will serve this".to_owned())
}

fn key(request: &rpc::Request) -> AttachmentKey {
    AttachmentKey::new(&request.container_id, &request.ifname)
}

fn mac(key: &AttachmentKey) -> Mac {
    Mac::of(&key.container_id, &key.ifname)
}

pub(super) fn is_gone(netns: &Netns) -> bool {
    netns::Identity {
        path: netns.path.clone(),
        device: netns.device,
        inode: netns.inode,
    }
    .is_gone()
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

#[cfg(test)]
mod tests;
