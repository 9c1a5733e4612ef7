//! One question to the agents of all nodes, or of one.

pub(crate) mod follow;

use crate::bridge::Bridge;
use crate::cluster::{Cluster, explain};
use crate::invalid::Usage;
use crate::options::Options;
use anyhow::anyhow;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use margay_proto::names::{AGENT_APP, NAMESPACE};
use margay_proto::rpc::agent::agent_client::AgentClient;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tonic::transport::Channel;

/// One agent's API.
pub(crate) type Client = AgentClient<Channel>;

/// What the agents said, by node, and why others did not.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    pub(crate) replies: Vec<T>,
    pub(crate) failures: Vec<String>,
}

/// Asks `question` of every node's agent, of `node`'s, or of the one behind `--socket`. Replies are in the order of node names.
///
/// # Errors
/// Only what keeps every agent from being asked; a single one that does not answer is among the failures.
pub(crate) async fn ask<T, F>(
    options: &Options,
    node: Option<&str>,
    question: impl Fn(Client) -> F,
) -> anyhow::Result<Answers<T>>
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    if let Some(socket) = &options.socket {
        if node.is_some() {
            return Err(Usage(EXCLUDED.to_owned()).into());
        }
        let reply = in_time(put(Bridge::local(socket).await?, &question)).await?;
        return Ok(Answers {
            replies: vec![reply],
            failures: Vec::new(),
        });
    }
    let cluster = Cluster::connect(options).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let (agents, notes) = find(&cluster, &pods, node).await?;
    let asked = agents.into_iter().map(|(node, pod)| {
        let (pods, question) = (&pods, &question);
        async move {
            let answer = match pod {
                Ok(pod) => in_time(through(pods, &pod, question)).await,
                Err(why) => Err(anyhow!(why)),
            };
            (node, answer)
        }
    });
    let answers: BTreeMap<String, anyhow::Result<T>> = stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut sorted = Answers {
        replies: Vec::new(),
        failures: notes,
    };
    for (node, answer) in answers {
        match answer {
            Ok(reply) => sorted.replies.push(reply),
            Err(error) => sorted.failures.push(format!("node {node}: {error:#}")),
        }
    }
    Ok(sorted)
}

async fn through<T, F>(
    pods: &Api<Pod>,
    pod: &str,
    question: &impl Fn(Client) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let bridge = Bridge::exec(pods, pod)
        .await
        .map_err(|error| anyhow!("pod {pod}: {}", explain(&error, "of the cluster")))?;
    put(bridge, question)
        .await
        .map_err(|error| error.context(format!("pod {pod}")))
}

async fn put<T, F>(bridge: Bridge, question: &impl Fn(Client) -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    match question(bridge.client()).await {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) => Err(bridge.why(&status).await),
    }
}

async fn in_time<T>(answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let late = |_| anyhow!("the agent did not answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

/// A node's agent pod, or why it has none to ask.
type Agents = BTreeMap<String, Result<String, String>>;

async fn find(
    cluster: &Cluster,
    pods: &Api<Pod>,
    node: Option<&str>,
) -> anyhow::Result<(Agents, Vec<String>)> {
    let mut params = ListParams::default().labels(&format!("app.kubernetes.io/name={AGENT_APP}"));
    if let Some(node) = node {
        params = params.fields(&format!("spec.nodeName={node}"));
    }
    let doing = format!("list pods in namespace {NAMESPACE}");
    let found = cluster.list(&doing, pods, params).await?;
    let mut notes = Vec::new();
    let nodes = match node {
        Some(node) => vec![node.to_owned()],
        None => names_of_nodes(cluster).await.unwrap_or_else(|error| {
            notes.push(format!("{error:#}; a node without an agent is not noticed"));
            Vec::new()
        }),
    };
    let agents = agents(&nodes, &found);
    if agents.is_empty() {
        return Err(anyhow!(
            "no agent runs in namespace {NAMESPACE}: is Margay installed?"
        ));
    }
    Ok((agents, notes))
}

async fn names_of_nodes(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let api: Api<Node> = Api::all(cluster.client());
    let nodes = cluster
        .call("list nodes", api.list_metadata(&ListParams::default()))
        .await?;
    Ok(nodes
        .items
        .into_iter()
        .filter_map(|node| node.metadata.name)
        .collect())
}

/// The pod to ask on each node, of `nodes` and those that `pods` run on. During a roll-out a node can have an old pod and a new one.
fn agents(nodes: &[String], pods: &[Pod]) -> Agents {
    let node_of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let all: BTreeSet<String> = nodes
        .iter()
        .cloned()
        .chain(pods.iter().filter_map(node_of))
        .collect();
    let pod_of = |node: &String| {
        let here: Vec<&Pod> = pods
            .iter()
            .filter(|pod| node_of(pod).as_ref() == Some(node))
            .collect();
        let running = here
            .iter()
            .find(|pod| phase(pod) == "Running" && pod.metadata.deletion_timestamp.is_none());
        match (running, here.first()) {
            (Some(pod), _) => Ok(name(pod)),
            (None, Some(pod)) => {
                let name = name(pod);
                Err(format!(
                    "agent pod {name} is {}: see `kubectl -n {NAMESPACE} describe pod {name}`",
                    state(pod)
                ))
            }
            (None, None) => Err(format!(
                "no agent pod in namespace {NAMESPACE}: is there such a node, and is it one that Margay runs on?"
            )),
        }
    };
    all.iter()
        .map(|node| (node.clone(), pod_of(node)))
        .collect()
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Unknown")
}

fn state(pod: &Pod) -> &str {
    if pod.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else {
        phase(pod)
    }
}

const EXCLUDED: &str =
    "--node and --socket exclude each other: a socket has one node's agent behind it";
/// Agents asked at the same time: each is a process started by a kubelet.
const AT_ONCE: usize = 16;
/// For one agent, starting the bridge included.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, ending: bool) -> Pod {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase}
        });
        if ending {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn every_node_has_a_pod_or_a_reason() {
        let nodes = ["n1", "n2", "n3", "n4"].map(str::to_owned);
        let pods = [
            pod("old", "n1", "Running", true),
            pod("new", "n1", "Running", false),
            pod("stuck", "n2", "Pending", false),
            pod("leaving", "n3", "Running", true),
            pod("unlisted", "n9", "Running", false),
        ];
        let agents = agents(&nodes, &pods);
        assert_eq!(agents["n1"], Ok("new".to_owned()));
        let stuck = "agent pod stuck is Pending: see `kubectl -n margay-system describe pod stuck`";
        assert_eq!(agents["n2"], Err(stuck.to_owned()));
        assert!(agents["n3"].as_ref().unwrap_err().contains("Terminating"));
        assert!(
            agents["n4"]
                .as_ref()
                .unwrap_err()
                .starts_with("no agent pod")
        );
        assert_eq!(agents["n9"], Ok("unlisted".to_owned()));
    }
}
