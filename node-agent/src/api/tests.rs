use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use margay_proto::rpc::agent::agent_client::AgentClient;
use margay_proto::rpc::agent::agent_server::AgentServer;
use tonic::transport::Endpoint;

use super::*;
use crate::health::{Heartbeats, Metrics};
use crate::speaker::{self, Desired};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("margay-api-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("run/agent.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A served agent whose speaker has nothing to do.
fn start(path: PathBuf, cancel: &CancellationToken) -> tokio::task::JoinHandle<anyhow::Result<()>> {
    let (_desired, follow) = watch::channel(Arc::new(Desired::default()));
    let heartbeat = Heartbeats::new().register("speaker", Duration::from_secs(10));
    let (driver, handle) = speaker::new(follow, Arc::new(Metrics::new()), heartbeat);
    let running = cancel.clone();
    tokio::spawn(async move {
        let _keep = _desired;
        driver.run(running).await
    });
    let address = Address {
        address: "10.244.0.7".to_owned(),
        pod: "web".to_owned(),
        ..Address::default()
    };
    let (_, addresses) = watch::channel(Arc::new(vec![address]));
    let doctor = Doctor {
        node: "n1".to_owned(),
        plans: watch::channel(Arc::default()).1,
        speaker: handle,
        serving: watch::channel(None).1,
        outages: crate::watch::Outages::default(),
        plugin: path.clone(),
        conflist: "/nowhere/10-margay.conflist".into(),
    };
    let service = AgentService::new(addresses, doctor);
    let cancel = cancel.clone();
    tokio::spawn(async move { serve(&path, Routes::new(AgentServer::new(service)), cancel).await })
}

async fn client(path: &Path) -> AgentClient<tonic::transport::Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    for _ in 0..500 {
        if let Ok(channel) = endpoint.connect().await {
            return AgentClient::new(channel);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody answers on {}", path.display());
}

#[tokio::test]
async fn root_is_answered_over_a_socket_of_mode_0600() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the socket is root's: run this test as root"
    );
    let folder = Folder::new("answers");
    let cancel = CancellationToken::new();
    let server = start(folder.socket(), &cancel);
    let mut client = client(&folder.socket()).await;
    assert_eq!(
        folder.socket().metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        folder
            .socket()
            .parent()
            .unwrap()
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );

    assert_eq!(
        client
            .version(VersionRequest {})
            .await
            .unwrap()
            .into_inner()
            .node,
        "n1"
    );
    assert_eq!(
        client
            .addresses(AddressesRequest {})
            .await
            .unwrap()
            .into_inner()
            .addresses[0]
            .pod,
        "web"
    );
    assert!(
        client
            .peers(PeersRequest {})
            .await
            .unwrap()
            .into_inner()
            .peers
            .is_empty()
    );
    assert!(
        client
            .routes(RoutesRequest::default())
            .await
            .unwrap()
            .into_inner()
            .routes
            .is_empty()
    );
    let status = client
        .routes(RoutesRequest {
            prefix: "10.0.0.0/33".to_owned(),
            ..RoutesRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("10.0.0.0/33"), "{status}");
    let peer = |peer: &str| PeerDetailsRequest {
        peer: peer.to_owned(),
    };
    let none = client.peer_details(peer("tor1")).await.unwrap();
    assert!(none.into_inner().peers.is_empty());
    let status = client.peer_details(peer("")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);

    drop(client);
    cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dead_agents_socket_is_replaced_and_a_living_ones_is_not() {
    let folder = Folder::new("stale");
    let cancel = CancellationToken::new();
    let first = start(folder.socket(), &cancel);
    drop(client(&folder.socket()).await);
    let refused = start(folder.socket(), &CancellationToken::new())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("another agent"),
        "{refused:#}"
    );

    cancel.cancel();
    first.await.unwrap().unwrap();
    assert!(folder.socket().exists());
    let cancel = CancellationToken::new();
    let second = start(folder.socket(), &cancel);
    assert_eq!(
        client(&folder.socket())
            .await
            .version(VersionRequest {})
            .await
            .unwrap()
            .into_inner()
            .node,
        "n1"
    );
    cancel.cancel();
    second.await.unwrap().unwrap();
}

#[test]
fn others_than_root_are_told_so() {
    let status = only_root(Request::new(())).unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
}
