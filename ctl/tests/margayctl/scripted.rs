//! An agent that answers by a script.

use futures::{Stream, StreamExt, stream};
use margay_proto::rpc::agent::agent_server::Agent;
use margay_proto::rpc::agent::*;
use std::pin::Pin;
use tonic::{Request, Response, Status};

/// An agent with one session and as many routes as it is asked for.
pub(super) struct Scripted;

#[tonic::async_trait]
impl Agent for Scripted {
    type MonitorStream = Pin<Box<dyn Stream<Item = Result<MonitorEvent, Status>> + Send>>;

    /// One session that comes up; nothing more ever.
    async fn monitor(
        &self,
        request: Request<MonitorRequest>,
    ) -> Result<Response<Self::MonitorStream>, Status> {
        let peer = request.into_inner().peer;
        if peer == "nobody" {
            return Err(Status::not_found("no peer nobody"));
        }
        let event = MonitorEvent {
            node: "n1".into(),
            event: "established".into(),
            peers: vec!["172.31.1.1".into()],
            name: peer,
            ..MonitorEvent::default()
        };
        let events = stream::iter([Ok(event)]).chain(stream::pending());
        Ok(Response::new(Box::pin(events)))
    }

    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionReply>, Status> {
        Ok(Response::new(VersionReply {
            version: "0.1.0".into(),
            node: "n1".into(),
        }))
    }

    async fn peers(&self, _: Request<PeersRequest>) -> Result<Response<PeersReply>, Status> {
        let peer = Peer {
            name: "tor1".into(),
            address: "172.31.1.1".into(),
            remote_as: 65101,
            state: "Established".into(),
            ..Peer::default()
        };
        Ok(Response::new(PeersReply {
            node: "n1".into(),
            peers: vec![peer],
            ..PeersReply::default()
        }))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyReply>, Status> {
        let WhyRequest { prefix, peer } = request.into_inner();
        let told = WhyPeer {
            peer,
            reason: "there is no session with the peer".to_owned(),
            ..WhyPeer::default()
        };
        Ok(Response::new(WhyReply {
            node: "n1".to_owned(),
            prefix,
            peers: vec![told],
            ..WhyReply::default()
        }))
    }

    async fn routes(
        &self,
        request: Request<RoutesRequest>,
    ) -> Result<Response<RoutesReply>, Status> {
        let request = request.into_inner();
        let (view, prefix) = (request.view(), request.prefix);
        let peer = request.peer;
        let route = |prefix: String| Route {
            prefix,
            from: format!("{} {peer}", view.as_str_name()),
            reason: "x".repeat(100),
            ..Route::default()
        };
        let routes = match prefix.as_str() {
            // More than gRPC's usual 4 MiB.
            "" => (0..60_000)
                .map(|i| route(format!("10.{}.{}.0/24", i / 256, i % 256)))
                .collect(),
            "192.0.2.1" => vec![],
            _ => vec![route(prefix)],
        };
        Ok(Response::new(RoutesReply {
            node: "n1".into(),
            routes,
        }))
    }

    async fn bfd(&self, _: Request<BfdRequest>) -> Result<Response<BfdReply>, Status> {
        let session = BfdSession {
            address: "172.31.1.1".into(),
            state: "Up".into(),
            ..BfdSession::default()
        };
        Ok(Response::new(BfdReply {
            node: "n1".into(),
            sessions: vec![session],
            ..BfdReply::default()
        }))
    }

    async fn peer_details(
        &self,
        request: Request<PeerDetailsRequest>,
    ) -> Result<Response<PeerDetailsReply>, Status> {
        let details = || PeerDetails {
            summary: Some(Peer {
                name: "BGPPeer/tor1".into(),
                address: "172.31.1.1".into(),
                state: "Established".into(),
                ..Peer::default()
            }),
            uptime_seconds: Some(61),
            ..PeerDetails::default()
        };
        let meant = request.into_inner().peer == "tor1";
        Ok(Response::new(PeerDetailsReply {
            node: "n1".into(),
            peers: meant.then(details).into_iter().collect(),
        }))
    }

    async fn reset(&self, request: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        let ResetRequest { peer, soft } = request.into_inner();
        let reset = ResetPeer {
            name: peer,
            address: "172.31.1.1".into(),
            done: if soft { "soft" } else { "hard" }.into(),
            failure: String::new(),
        };
        Ok(Response::new(ResetReply {
            node: "n1".into(),
            peers: vec![reset],
        }))
    }

    async fn addresses(
        &self,
        _: Request<AddressesRequest>,
    ) -> Result<Response<AddressesReply>, Status> {
        Err(Status::unimplemented("not asked by margayctl"))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Result<Response<DoctorReply>, Status> {
        let finding = |check: &str, severity: &str, what: &str| Finding {
            check: check.into(),
            severity: severity.into(),
            object: check.into(),
            what: what.into(),
            remedy: if severity == "ok" { "" } else { "mend it" }.into(),
        };
        Ok(Response::new(DoctorReply {
            node: "n1".into(),
            findings: vec![
                finding("forwarding", "ok", "on"),
                finding("bgp-port", "error", "port 179 is in use by bird"),
            ],
            uplinks: vec![],
        }))
    }
}
