//! One question to the agents of all nodes, or of one, to which they never stop answering.
//!
//! ```text
//!  agent n1 ──stream──► task ─┐
//!  agent n2 ──stream──► task ─┼─mpsc Heard──► command, which prints
//!             ▲── again after PAUSE ──┘
//! ```
//! An agent that goes away is said once and asked again until it is back: a restart is what people watch for.

use super::{Client, find};
use crate::bridge::Bridge;
use crate::cluster::{Cluster, explain};
use crate::invalid::Usage;
use crate::options::Options;
use anyhow::anyhow;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use margay_proto::names::NAMESPACE;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status, Streaming};

/// What one agent says, or why it says nothing.
#[derive(Debug)]
pub(crate) enum Heard<T> {
    /// From now on nothing is lost.
    Open,
    /// An answer.
    Said(T),
    /// It does not answer now; it is asked again.
    Away(String),
    /// It has nothing to tell of what was asked for.
    Nothing,
}

/// Answers as they come.
#[derive(Debug)]
pub(crate) struct Following<T> {
    pub(crate) heard: mpsc::Receiver<Heard<T>>,
    /// How many agents are asked.
    pub(crate) agents: usize,
    /// What keeps others from being asked.
    pub(crate) failures: Vec<String>,
    /// Ends with this value.
    _tasks: JoinSet<()>,
}

/// How an agent is reached.
#[derive(Clone)]
enum Way {
    Socket(PathBuf),
    Node(Cluster, String),
}

/// Asks `question` as [`super::ask`] does, and follows the answers.
///
/// # Errors
/// What keeps every agent from being asked.
pub(crate) async fn follow<T, F>(
    options: &Options,
    node: Option<&str>,
    question: impl Fn(Client) -> F + Clone + Send + Sync + 'static,
) -> anyhow::Result<Following<T>>
where
    F: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
    T: Send + 'static,
{
    let (ways, failures) = ways(options, node).await?;
    let (say, heard) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    let agents = ways.len();
    for way in ways {
        tasks.spawn(attend(way, question.clone(), say.clone()));
    }
    Ok(Following {
        heard,
        agents,
        failures,
        _tasks: tasks,
    })
}

async fn ways(options: &Options, node: Option<&str>) -> anyhow::Result<(Vec<Way>, Vec<String>)> {
    if let Some(socket) = &options.socket {
        if node.is_some() {
            return Err(Usage(super::EXCLUDED.to_owned()).into());
        }
        // One that is not there now is no agent that restarts.
        Bridge::local(socket).await?;
        return Ok((vec![Way::Socket(socket.clone())], Vec::new()));
    }
    let cluster = Cluster::connect(options).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let (agents, notes) = find(&cluster, &pods, node).await?;
    let way = |node: String| Way::Node(cluster.clone(), node);
    Ok((agents.into_keys().map(way).collect(), notes))
}

/// Keeps asking one agent until nobody wants to know any more.
async fn attend<T, F>(way: Way, question: impl Fn(Client) -> F, say: mpsc::Sender<Heard<T>>)
where
    F: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let mut said = None;
    loop {
        let why = match way.bridge().await {
            Ok(bridge) => listen(bridge, &question, &say, &mut said).await,
            Err(error) => Some(format!("{error:#}")),
        };
        let Some(why) = why else { return };
        if said.as_ref() != Some(&why) {
            let away = Heard::Away(format!("{}{why}", way.whose()));
            if say.send(away).await.is_err() {
                return;
            }
            said = Some(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Passes answers on until they end; why they did, unless nobody listens or there is nothing to tell.
async fn listen<T, F>(
    bridge: Bridge,
    question: &impl Fn(Client) -> F,
    say: &mpsc::Sender<Heard<T>>,
    said: &mut Option<String>,
) -> Option<String>
where
    F: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let mut answers = match question(bridge.client()).await {
        Ok(answers) => answers.into_inner(),
        Err(status) if status.code() == Code::NotFound => {
            let _ = say.send(Heard::Nothing).await;
            return None;
        }
        Err(status) => return Some(format!("{:#}", bridge.why(&status).await)),
    };
    *said = None;
    say.send(Heard::Open).await.ok()?;
    loop {
        match answers.message().await {
            Ok(Some(answer)) => say.send(Heard::Said(answer)).await.ok()?,
            Ok(None) => return Some("the agent has ended".to_owned()),
            Err(status) => return Some(format!("{:#}", bridge.why(&status).await)),
        }
    }
}

impl Way {
    async fn bridge(&self) -> anyhow::Result<Bridge> {
        let (cluster, node) = match self {
            Self::Socket(path) => return Bridge::local(path).await,
            Self::Node(cluster, node) => (cluster, node),
        };
        // The pod may be another one than the last time.
        let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
        let (mut agents, _) = find(cluster, &pods, Some(node)).await?;
        let pod = agents.remove(node).unwrap_or_else(|| Err(String::new()));
        let pod = pod.map_err(|why| anyhow!(why))?;
        Bridge::exec(&pods, &pod)
            .await
            .map_err(|error| anyhow!("pod {pod}: {}", explain(&error, "of the cluster")))
    }

    fn whose(&self) -> String {
        match self {
            Self::Socket(_) => String::new(),
            Self::Node(_, node) => format!("node {node}: "),
        }
    }
}

/// Answers that wait to be printed; then the agents wait, and say what is missed.
const QUEUE: usize = 256;
/// Before an agent that is away is asked again.
const PAUSE: Duration = Duration::from_secs(2);
