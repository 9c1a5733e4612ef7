//! An agent as a process of its own, which can be killed, and the verbs as its plugin sends them.

use super::{super::*, node::Node};
use crate::{fault, kernel::testnet::Namespace};
use margay_proto::rpc::{
    agent::{AddressesRequest, agent_client::AgentClient},
    cni::{Request, cni_client::CniClient},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    time::Instant,
};
use tonic::transport::{Channel, Endpoint};

/// How an agent ends at an armed point.
pub(super) const KILLED: Option<i32> = Some(9);

/// A running agent.
#[derive(Debug)]
pub(super) struct Agent {
    process: Process,
    channel: Channel,
}

/// Ends with its owner, also while the agent is not served yet.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn start(node: &Node) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("run::cut_off::agent::serves")
            .env(fault::ARMED, node.armed())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(node.log()).unwrap())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    /// Starts one, and waits until it serves ADD.
    pub(super) async fn start(node: &Node) -> Self {
        let process = Process::start(node);
        let begin = Instant::now();
        let endpoint = Endpoint::from_shared(format!("unix://{}", names::AGENT_SOCKET)).unwrap();
        let mut why = String::new();
        while begin.elapsed() < Duration::from_secs(20) {
            if let Ok(channel) = endpoint.connect().await {
                match CniClient::new(channel.clone())
                    .status(Request::default())
                    .await
                {
                    Ok(reply) => match reply.into_inner().error {
                        None => return Self { process, channel },
                        Some(error) => why = error.message,
                    },
                    Err(error) => why = error.to_string(),
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the agent does not serve: {why}\n{}", node.said());
    }

    /// ADD of `container` as a pod of the same name; its addresses.
    pub(super) async fn add(
        &self,
        container: &str,
        pod: &Namespace,
    ) -> Result<Vec<String>, String> {
        self.verb("add", container, pod).await
    }

    /// `add` or `del`; the error of the call or of the agent.
    pub(super) async fn verb(
        &self,
        verb: &str,
        container: &str,
        pod: &Namespace,
    ) -> Result<Vec<String>, String> {
        let own = format!("/proc/{}/", std::process::id());
        let request = Request {
            container_id: container.to_owned(),
            netns: pod
                .path()
                .display()
                .to_string()
                .replace("/proc/self/", &own),
            ifname: "eth0".to_owned(),
            pod_namespace: "default".to_owned(),
            pod_name: container.to_owned(),
            pod_uid: format!("uid-{container}"),
            config: String::new(),
        };
        let mut client = CniClient::new(self.channel.clone());
        let (error, addresses) = if verb == "add" {
            let reply = client
                .add(request)
                .await
                .map_err(|e| e.to_string())?
                .into_inner();
            (reply.error, reply.addresses)
        } else {
            let reply = client
                .del(request)
                .await
                .map_err(|e| e.to_string())?
                .into_inner();
            (reply.error, Vec::new())
        };
        match error {
            Some(error) => Err(error.message),
            None => Ok(addresses.into_iter().map(|a| a.address).collect()),
        }
    }

    /// Waits for the process, which was killed or will never end by itself; the signal that ended it.
    pub(super) fn end(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if let Some(status) = self.process.0.try_wait().unwrap() {
                return status.signal();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// The addresses' task holds none: what `margayctl` would show.
    pub(super) async fn wait_for_no_address(&self, case: &str) {
        let begin = Instant::now();
        loop {
            let mut client = AgentClient::new(self.channel.clone());
            let held = client
                .addresses(AddressesRequest {})
                .await
                .unwrap()
                .into_inner()
                .addresses;
            if held.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "{case}: held in memory: {held:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The process: all of the agent but its watches and its report.
#[test]
#[ignore = "is the agent that the tests of this module start and kill"]
fn serves() {
    if std::env::var_os(fault::ARMED).is_none() {
        // Somebody runs the ignored tests by hand: this is none.
        return;
    }
    tracing_subscriber::fmt()
        .with_env_filter("info,margay_agent=debug")
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let options = Options {
                node: "a".to_owned(),
                log: String::new(),
                plugin: "/run/test/plugin".into(),
                cni_bin: "/run/test/bin".into(),
                conflist: "/run/test/net.d/10-margay.conflist".into(),
                health_port: names::AGENT_HEALTH_PORT,
            };
            let mut wiring = Wiring::new(options, Gates::new());
            let ground = wiring.ground().await.unwrap();
            // Nobody is there: no verb needs the API server.
            let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
            let client = Client::try_from(nowhere).unwrap();
            let local = wiring.local(ground, &client);
            for event in cluster() {
                local.core.events.send(event).await.unwrap();
            }
            local.blocks.send(Change::Reset(blocks())).await.unwrap();
            program::until_told(wiring.tasks, wiring.cancel)
                .await
                .unwrap();
        });
}

fn all<K: DeserializeOwned>(objects: &[Value]) -> Change<K> {
    let read = |object: &Value| serde_json::from_value(object.clone()).unwrap();
    Change::Reset(objects.iter().map(read).collect())
}

/// One node with a pool of each family and two pods, as its watches would tell it.
fn cluster() -> Vec<Event> {
    let addresses = ["172.31.0.1", "fd31::1"].map(|a| json!({"type": "InternalIP", "address": a}));
    let node =
        json!({"metadata": {"name": "a", "uid": "uid-a"}, "status": {"addresses": addresses}});
    let active = json!([{"type": "Active", "status": "True", "reason": "NoOverlap", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let pool = |name: &str, cidr: &str| json!({"apiVersion": "margay.dev/v1alpha1", "kind": "IPPool", "metadata": {"name": name}, "spec": {"cidr": cidr}, "status": {"conditions": active}});
    let configuration = json!({"apiVersion": "margay.dev/v1alpha1", "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": {"asNumber": 64512, "mesh": "None"}});
    let pod = |name: &str| json!({"metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}")}, "spec": {"nodeName": "a"}});
    let policy = json!({"metadata": {"namespace": "default", "name": "closed"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    vec![
        Event::Nodes(all(&[node])),
        Event::Pools(all(&[
            pool("v4", "10.244.0.0/16"),
            pool("v6", "fd44::/112"),
        ])),
        Event::Configurations(all(&[configuration])),
        Event::Peers(all(&[])),
        Event::Filters(all(&[])),
        Event::BgpNodes(all(&[])),
        Event::NodeConfigs(all(&[])),
        Event::Pods(all(&[pod("c1"), pod("c2")])),
        Event::Namespaces(all(&[json!({"metadata": {"name": "default"}})])),
        Event::Policies(all(&[policy])),
    ]
}

fn blocks() -> Vec<IPBlock> {
    let block = |(pool, cidr): (&str, &str)| {
        let name = margay_proto::crd::block_name(cidr.parse().unwrap());
        let spec = json!({"cidr": cidr, "pool": pool, "nodeName": "a", "nodeUid": "uid-a"});
        let object = json!({"apiVersion": "margay.dev/v1alpha1", "kind": "IPBlock", "metadata": {"name": name, "uid": name, "resourceVersion": "1"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    };
    [("v4", "10.244.0.0/26"), ("v6", "fd44::/122")]
        .map(block)
        .into()
}
