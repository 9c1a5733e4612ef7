//! The gRPC that this node answers to: the `Agent` service, and the socket that it shares with the CNI plugin's.
//!
//! ```text
//! margayctl ─ bridge ─┐                        ┌─► Agent ── speaker::Handle, watch Addresses
//! CNI plugin ─────────┴─► agent.sock ─ uid 0? ─┴─► Cni
//! ```
//! Whoever may use the socket may take a pod off the network, so it is root's alone: by its mode from the first moment it
//! exists, and by the credentials of each peer.

mod convert;
mod details;
mod monitor;
mod socket;

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use margay_bgp::{Lookup, RouteFilter, View};
use margay_proto::rpc::agent::agent_server::Agent;
use margay_proto::rpc::agent::{
    self, Address, AddressesReply, AddressesRequest, BfdReply, BfdRequest, DoctorReply,
    DoctorRequest, MonitorRequest, PeerDetailsReply, PeerDetailsRequest, PeersReply, PeersRequest,
    ResetPeer, ResetReply, ResetRequest, RoutesReply, RoutesRequest, VersionReply, VersionRequest,
    WhyReply, WhyRequest,
};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::doctor::Doctor;
use crate::speaker::{Gone, Handle, Peer};

/// Live state of the node, for `margayctl`.
#[derive(Clone, Debug)]
pub struct AgentService {
    node: String,
    speaker: Handle,
    addresses: watch::Receiver<Arc<Vec<Address>>>,
    /// None where there are no pods to look after.
    doctor: Option<Doctor>,
}

impl AgentService {
    /// Answers for the node that `doctor` looks at.
    pub fn new(addresses: watch::Receiver<Arc<Vec<Address>>>, doctor: Doctor) -> Self {
        Self {
            node: doctor.node.clone(),
            speaker: doctor.speaker.clone(),
            addresses,
            doctor: Some(doctor),
        }
    }

    /// Answers for a speaker without pods, called `name`.
    pub fn standalone(name: String, speaker: Handle) -> Self {
        Self {
            node: name,
            speaker,
            addresses: watch::channel(Arc::default()).1,
            doctor: None,
        }
    }
}

impl AgentService {
    /// The peers that a person means by `text`: one by its address, or all that an object asked for.
    async fn meant(&self, text: &str) -> Result<Vec<Peer>, Status> {
        if text.is_empty() {
            return Err(Status::invalid_argument("name a peer"));
        }
        let peers = self.speaker.peers().await.map_err(unavailable)?.peers;
        let meant = peers
            .into_iter()
            .filter(|peer| details::is_meant(peer, text));
        Ok(meant.collect())
    }

    async fn of_peers(&self, text: &str, view: fn(IpAddr) -> View) -> Result<Vec<View>, Status> {
        let meant = self.meant(text).await?;
        Ok(meant.iter().map(|peer| view(peer.status.address)).collect())
    }
}

/// Serves `routes` on a unix socket at `path` for processes of root, until `cancel`.
///
/// A socket that a killed agent left behind is replaced; one that still answers is not.
///
/// # Errors
/// When another agent serves the socket, it cannot be made, the server fails, or somebody takes the file away.
pub async fn serve(path: &Path, routes: Routes, cancel: CancellationToken) -> anyhow::Result<()> {
    let listener = socket::bind(path)
        .await
        .with_context(|| format!("agent socket {}", path.display()))?;
    let served = tonic::transport::Server::builder()
        .layer(InterceptorLayer::new(only_root))
        .add_routes(routes)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), cancel.cancelled_owned());
    tokio::select! {
        ended = served => ended.with_context(|| format!("gRPC on {}", path.display())),
        gone = gone(path) => Err(gone),
    }
}

/// Ends once the socket's file is not ours any more: nobody can reach us then, and only a new start binds it again.
async fn gone(path: &Path) -> anyhow::Error {
    let inode = || std::fs::symlink_metadata(path).map(|file| file.ino()).ok();
    let own = inode();
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        if inode() != own {
            return anyhow::anyhow!("somebody removed or replaced {}", path.display());
        }
    }
}

/// How often the socket's file is looked at.
const LOOK: Duration = Duration::from_secs(5);

fn only_root(request: Request<()>) -> Result<Request<()>, Status> {
    let uid = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred)
        .map(|peer| peer.uid());
    match uid {
        Some(0) => Ok(request),
        Some(uid) => Err(Status::permission_denied(format!(
            "only root may ask the agent, not uid {uid}"
        ))),
        None => Err(Status::permission_denied(
            "only root may ask the agent, and the peer is not known",
        )),
    }
}

/// An address is covered by prefixes; with a length it is a prefix itself.
fn lookup(text: &str) -> Result<Lookup, Status> {
    if let Ok(address) = text.parse() {
        return Ok(Lookup::Covering(address));
    }
    text.parse()
        .map(Lookup::Exactly)
        .map_err(|error| Status::invalid_argument(format!("prefix {text:?}: {error}")))
}

#[tonic::async_trait]
impl Agent for AgentService {
    type MonitorStream = monitor::Events;

    async fn monitor(
        &self,
        request: Request<MonitorRequest>,
    ) -> Result<Response<Self::MonitorStream>, Status> {
        let request = request.into_inner();
        let meant = match request.peer.as_str() {
            "" => None,
            peer => Some(self.meant(peer).await?),
        };
        let filter = monitor::Filter::of(&request, meant)?;
        let news = self.speaker.monitor().map_err(unavailable)?;
        let events = monitor::events(self.node.clone(), news, filter);
        Ok(Response::new(events))
    }

    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionReply>, Status> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(VersionReply {
            version,
            node: self.node.clone(),
        }))
    }

    async fn peers(&self, _: Request<PeersRequest>) -> Result<Response<PeersReply>, Status> {
        let peers = self.speaker.peers().await.map_err(unavailable)?;
        Ok(Response::new(convert::peers(self.node.clone(), peers)))
    }

    async fn peer_details(
        &self,
        request: Request<PeerDetailsRequest>,
    ) -> Result<Response<PeerDetailsReply>, Status> {
        let meant = self.meant(&request.into_inner().peer).await?;
        Ok(Response::new(PeerDetailsReply {
            node: self.node.clone(),
            peers: meant.into_iter().map(details::details).collect(),
        }))
    }

    async fn reset(&self, request: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        let ResetRequest { peer, soft } = request.into_inner();
        let mut peers = Vec::new();
        for peer in self.meant(&peer).await? {
            let address = peer.status.address;
            let outcome = match soft {
                true => details::refreshed(
                    self.speaker
                        .soft_reset(address)
                        .await
                        .map_err(unavailable)?,
                ),
                false => details::reset(self.speaker.reset(address).await.map_err(unavailable)?),
            };
            tracing::info!(peer = %address, soft, "reset asked for: {}", outcome.unwrap_or_else(|why| why));
            peers.push(ResetPeer {
                name: peer.status.description,
                address: address.to_string(),
                done: outcome.unwrap_or_default().to_owned(),
                failure: outcome.err().unwrap_or_default().to_owned(),
            });
        }
        Ok(Response::new(ResetReply {
            node: self.node.clone(),
            peers,
        }))
    }

    async fn routes(
        &self,
        request: Request<RoutesRequest>,
    ) -> Result<Response<RoutesReply>, Status> {
        let request = request.into_inner();
        let lookup = match request.prefix.as_str() {
            "" => None,
            text => Some(lookup(text)?),
        };
        let views: Vec<View> = match request.view() {
            agent::View::All => vec![View::All],
            agent::View::Best => vec![View::Best],
            agent::View::In => self.of_peers(&request.peer, View::In).await?,
            agent::View::Out => self.of_peers(&request.peer, View::Out).await?,
        };
        let mut routes = Vec::new();
        for view in views {
            let found = self.speaker.routes(RouteFilter { view, lookup }).await;
            routes.extend(convert::routes(found.map_err(unavailable)?));
        }
        Ok(Response::new(RoutesReply {
            node: self.node.clone(),
            routes,
        }))
    }

    async fn bfd(&self, _: Request<BfdRequest>) -> Result<Response<BfdReply>, Status> {
        let snapshot = Arc::clone(&self.speaker.bfd.borrow());
        let sessions = Arc::clone(&self.speaker.sessions.borrow());
        let reply = convert::bfd(self.node.clone(), &snapshot, &sessions);
        Ok(Response::new(reply))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyReply>, Status> {
        let WhyRequest { prefix, peer } = request.into_inner();
        let explained = self.speaker.why(lookup(&prefix)?).await;
        let mut explanation = explained.map_err(unavailable)?;
        if !peer.is_empty() {
            let meant = self.meant(&peer).await?;
            let meant: Vec<_> = meant.iter().map(|peer| peer.status.address).collect();
            explanation = explanation
                .filter(|_| !meant.is_empty())
                .map(|explained| explained.of_peers(&meant));
        }
        Ok(Response::new(convert::why(self.node.clone(), explanation)))
    }

    async fn addresses(
        &self,
        _: Request<AddressesRequest>,
    ) -> Result<Response<AddressesReply>, Status> {
        let addresses = Vec::clone(&self.addresses.borrow());
        Ok(Response::new(AddressesReply {
            node: self.node.clone(),
            addresses,
        }))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Result<Response<DoctorReply>, Status> {
        let Some(doctor) = &self.doctor else {
            return Err(Status::unimplemented(
                "a standalone speaker carries no pods, which is what doctor looks at; ask `bgp peers` and `bgp routes`",
            ));
        };
        let reply = doctor.examine().await.map_err(Status::internal)?;
        Ok(Response::new(reply))
    }
}

fn unavailable(gone: Gone) -> Status {
    Status::unavailable(gone.to_string())
}

#[cfg(test)]
mod tests;
