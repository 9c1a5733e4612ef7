//! The CNI verbs, path (a) of the architecture.
//!
//! ```text
//! ADD: pod known? ─► addresses ─► record ─► link ─► plan generation g ─► kernel has g ─► reply
//!        (≤ 2 s)      (memory)    (file)   (veth)      (engine)          (actuate)
//! ```
//! A failure undoes in reverse. DEL does the same backwards, needs no API server, and touches only its own container id. Every verb may be
//! repeated, reordered or cut off at any line: the record on disk says what there is to finish. `run::cut_off` cuts them off at each.

use super::{Records, Told, Turns, link_name, refusal::Refusal};
use crate::{
    actuate::Applied,
    addresses,
    engine::{Event, Plan},
    health::Metrics,
    kernel::{
        conntrack::Flows,
        link::{Mac, PodLink},
        netns,
    },
};
use margay_ipam::{Attachment, AttachmentKey, Netns};
use margay_proto::rpc::cni::{self as rpc, cni_server::Cni};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};

/// How long ADD and DEL wait for the kernel to hold their plan. It takes milliseconds; this bounds a wedge.
pub(super) const APPLY_WAIT: Duration = Duration::from_secs(2);

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
    /// Who forgets the flows of an address's last owner.
    pub flows: Flows,
    /// Who works on which link.
    pub turns: Turns,
    /// Whose people know why a pod does not start.
    pub told: Told,
}

#[tonic::async_trait]
impl Cni for Server {
    async fn add(&self, request: Request<rpc::Request>) -> Result<Response<rpc::AddReply>, Status> {
        let request = request.into_inner();
        let started = Instant::now();
        // On its own task: a runtime that hangs up must not leave half an ADD behind.
        let this = self.clone();
        let result = tokio::spawn(async move { this.add_pod(&request).await })
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

    pub(super) async fn applied(
        &self,
        generation: u64,
        within: Duration,
    ) -> Result<Applied, Refusal> {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|a| a.generation >= generation);
        match tokio::time::timeout(within, reached).await {
            Ok(Ok(applied)) => Ok(applied.clone()),
            Ok(Err(_)) => Err(ending()),
            Err(_) => Err(Refusal::TryAgain(format!(
                "the kernel did not take plan generation {generation} within {:.1} s",
                within.as_secs_f64()
            ))),
        }
    }

    pub(super) async fn tell(&self, event: Event) -> Result<(), Refusal> {
        self.engine.send(event).await.map_err(|_| ending())
    }
}

/// `ok`, or the CNI error code.
fn outcome<T>(result: &Result<T, Refusal>) -> String {
    result
        .as_ref()
        .map_or_else(|refusal| refusal.code().to_string(), |_| "ok".to_owned())
}

pub(super) fn ending() -> Refusal {
    Refusal::TryAgain("the agent is ending; its successor will serve this".to_owned())
}

pub(super) fn key(request: &rpc::Request) -> AttachmentKey {
    AttachmentKey::new(&request.container_id, &request.ifname)
}

pub(super) fn mac(key: &AttachmentKey) -> Mac {
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

#[cfg(test)]
mod tests;
