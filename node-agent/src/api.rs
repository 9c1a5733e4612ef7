//! The gRPC that this node answers to: the `Agent` service, and the socket that it shares with the CNI plugin's.
//!
//! ```text
//! margayctl ─ bridge ─┐                        ┌─► Agent ── speaker::Handle, watch Addresses
//! CNI plugin ─────────┴─► agent.sock ─ uid 0? ─┴─► Cni
//! ```
//! Whoever may use the socket may take a pod off the network, so it is root's alone: by its mode from the first moment it
//! exists, and by the credentials of each peer.

mod convert;
mod socket;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use margay_bgp::{RouteFilter, View};
use margay_proto::rpc::agent::agent_server::Agent;
use margay_proto::rpc::agent::{
    Address, AddressesReply, AddressesRequest, DoctorReply, DoctorRequest, PeersReply,
    PeersRequest, RoutesReply, RoutesRequest, VersionReply, VersionRequest,
};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::doctor::Doctor;
use crate::speaker::{Gone, Handle};

/// Live state of the node, for `margayctl`.
#[derive(Clone, Debug)]
pub struct AgentService {
    node: String,
    speaker: Handle,
    addresses: watch::Receiver<Arc<Vec<Address>>>,
    doctor: Doctor,
}

impl AgentService {
    /// Answers for the node that `doctor` looks at.
    pub fn new(addresses: watch::Receiver<Arc<Vec<Address>>>, doctor: Doctor) -> Self {
        Self {
            node: doctor.node.clone(),
            speaker: doctor.speaker.clone(),
            addresses,
            doctor,
        }
    }
}

/// Serves `routes` on a unix socket at `path` for processes of root, until `cancel`.
///
/// A socket that a killed agent left behind is replaced; one that still answers is not.
///
/// # Errors
/// When another agent serves the socket, it cannot be made, or the server fails.
pub async fn serve(path: &Path, routes: Routes, cancel: CancellationToken) -> anyhow::Result<()> {
    let listener = socket::bind(path)
        .await
        .with_context(|| format!("agent socket {}", path.display()))?;
    tonic::transport::Server::builder()
        .layer(InterceptorLayer::new(only_root))
        .add_routes(routes)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), cancel.cancelled_owned())
        .await
        .with_context(|| format!("gRPC on {}", path.display()))
}

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

#[tonic::async_trait]
impl Agent for AgentService {
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

    async fn routes(
        &self,
        request: Request<RoutesRequest>,
    ) -> Result<Response<RoutesReply>, Status> {
        let text = request.into_inner().prefix;
        let prefix =
            match text.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|error| {
                    Status::invalid_argument(format!("prefix {text:?}: {error}"))
                })?),
            };
        let routes = self
            .speaker
            .routes(RouteFilter {
                view: View::All,
                prefix,
            })
            .await
            .map_err(unavailable)?;
        Ok(Response::new(RoutesReply {
            node: self.node.clone(),
            routes: convert::routes(routes),
        }))
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
        let reply = self.doctor.examine().await.map_err(Status::internal)?;
        Ok(Response::new(reply))
    }
}

fn unavailable(gone: Gone) -> Status {
    Status::unavailable(gone.to_string())
}

#[cfg(test)]
mod tests;
