//! `margay-agent run`: wiring. Configuration, tasks, channels between them, and the end.
//!
//! ```text
//!  watch::run × 9 ──Event──► engine ──Plan──► actuate (kernel)   ──Snapshot──► engine
//!  cni::server    ──Event──►   │    ──Plan──► addresses (blocks) ──Blocks────► engine
//!                              │    ──Desired─► speaker (BGP)    ──Learned───► engine
//!                              └────Plan──► report (BGPNode, NodeState), serving (conflist)
//! ```
//! Every task lives in one JoinSet; one that ends unasked ends the agent. SIGTERM ends them all; the kernel keeps forwarding and the peers
//! keep the routes, because nothing is withdrawn.

mod engine_task;
mod serving;

use crate::{
    actuate::Actuator,
    addresses::{self, Addresses},
    api,
    blocks::KubeStore,
    cni::{Records, conflist, link_name, server::Server},
    engine::{Change, Engine, Event, Start},
    health::{self, Gates, Heartbeats, Metrics},
    kernel::{link, route::Target, sysctl},
    report::Reporter,
    speaker,
    state::StateFile,
    watch as watching,
};
use anyhow::Context;
use kube::{Api, Client, runtime::watcher};
use margay_bgp::Families;
use margay_ipam::Attachment;
use margay_proto::{crd::IPBlock, names, rpc};
use std::{collections::BTreeSet, path::Path, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Bootstrap settings; what the cluster decides comes from its objects.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Name of this node's Node object.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// Log filter, as in `info,margay_agent=debug`.
    #[arg(long, env = "MARGAY_LOG", default_value = "info")]
    pub log: String,
    /// The plugin to install into the runtime's folder.
    #[arg(long, default_value = "/opt/margay/cni/margay")]
    pub plugin: PathBuf,
    /// Where the runtime looks for plugins.
    #[arg(long, default_value = names::CNI_BIN)]
    pub cni_bin: PathBuf,
    /// The network configuration list to write.
    #[arg(long, default_value = names::CONFLIST)]
    pub conflist: PathBuf,
    /// TCP port of /healthz, /readyz and /metrics.
    #[arg(long, default_value_t = names::AGENT_HEALTH_PORT)]
    pub health_port: u16,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the node cannot be served at all (no kernel access, no folder), or a task ends unasked.
pub fn main(options: Options) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&options.log)?)
        .with_writer(std::io::stderr)
        .init();
    // A half-dead agent is worse than a restart: the kernel forwards meanwhile.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(serve(options))
}

type Tasks = JoinSet<anyhow::Result<()>>;

async fn serve(options: Options) -> anyhow::Result<()> {
    tracing::info!(node = %options.node, version = env!("CARGO_PKG_VERSION"), "starting");
    let cancel = CancellationToken::new();
    let mut tasks: Tasks = JoinSet::new();
    let metrics = Arc::new(Metrics::new());
    let heartbeats = Heartbeats::new();
    let gates = Gates::new();
    let gate = gates.gate("pods", "starting");
    let health = health::Health {
        heartbeats: heartbeats.clone(),
        gates,
        metrics: metrics.clone(),
    };
    tasks.spawn(health::serve(options.health_port, health, cancel.clone()));

    let records = Records::open(names::ATTACHMENTS)
        .with_context(|| format!("attachment records in {}", names::ATTACHMENTS))?;
    let attachments = records.load()?;
    remove_unrecorded_links(&attachments).await?;
    let state =
        StateFile::open(names::STATE).with_context(|| format!("state in {}", names::STATE))?;
    let known = state.load();
    sysctl::enable_forwarding(Path::new(sysctl::RECORD))?;
    conflist::install_plugin(&options.plugin, &options.cni_bin)?;
    let (actuator, applied) = Actuator::open(metrics.clone()).await?;

    let client = Client::try_default()
        .await
        .context("credentials of the agent's service account")?;
    let (events, event_queue) = mpsc::channel(1024);
    let blocks = known.as_ref().map(|k| k.blocks.clone());
    let engine = Engine::new(Start {
        node: options.node.clone(),
        inputs: known.map(|k| k.inputs).unwrap_or_default(),
        blocks: blocks.clone(),
        attachments: attachments.clone(),
        forwarding: forwarding(&actuator),
    });
    let (engine_task, plans, desired) = engine_task::EngineTask::new(engine, event_queue, state);
    tasks.spawn(engine_task.run(
        heartbeats.register("engine", Duration::from_secs(30)),
        cancel.clone(),
    ));
    tasks.spawn(actuator.run(
        plans.clone(),
        events.clone(),
        heartbeats.register("kernel", Duration::from_secs(30)),
        cancel.clone(),
    ));

    let (driver, speaker) = speaker::new(
        desired,
        metrics.clone(),
        heartbeats.register("speaker", Duration::from_secs(30)),
    );
    tasks.spawn(driver.run(cancel.clone()));
    tasks.spawn(engine_task::follow(
        speaker.learned.clone(),
        events.clone(),
        Event::Learned,
    ));
    tasks.spawn(engine_task::follow(
        speaker.next_hops.clone(),
        events.clone(),
        Event::NextHops,
    ));

    let (watched_blocks, watched) = mpsc::channel(256);
    let start = addresses::Start {
        node: options.node.clone(),
        blocks: blocks.unwrap_or_default(),
        attachments,
        plans: plans.clone(),
        watched,
        store: KubeStore::new(client.clone()),
        engine: events.clone(),
        metrics: metrics.clone(),
    };
    let (addresses, address_handle, shown) = Addresses::new(start);
    tasks.spawn(addresses.run(
        heartbeats.register("addresses", Duration::from_secs(30)),
        cancel.clone(),
    ));
    watch_everything(&mut tasks, &client, &options.node, &events, watched_blocks);

    let (serving_task, serving) = serving::Serving::new(
        plans.clone(),
        applied.clone(),
        options.conflist,
        options.cni_bin,
    );
    tasks.spawn(serving_task.run(cancel.clone()));
    let server = Server {
        engine: events,
        addresses: address_handle,
        applied: applied.clone(),
        plans: plans.clone(),
        serving: serving.clone(),
        records,
        metrics,
    };
    tasks.spawn(serving::sweep(server.clone(), cancel.clone()));
    let service = api::AgentService::new(options.node.clone(), speaker.clone(), shown);
    let routes = tonic::service::Routes::new(rpc::agent::agent_server::AgentServer::new(service))
        .add_service(rpc::cni::cni_server::CniServer::new(server));
    let socket_cancel = cancel.clone();
    tasks.spawn(
        async move { api::serve(Path::new(names::AGENT_SOCKET), routes, socket_cancel).await },
    );
    tasks.spawn(
        Reporter {
            node: options.node,
            client,
            plans,
            applied,
            speaker,
            serving,
            gate,
        }
        .run(cancel.clone()),
    );
    until_told(tasks, cancel).await
}

/// The families whose routes of an earlier agent still forward.
fn forwarding(actuator: &Actuator) -> Families {
    let own = |v4: bool| {
        actuator
            .adopted()
            .iter()
            .any(|(p, r)| p.is_ipv4() == v4 && !matches!(r.target, Target::Via(_)))
    };
    Families {
        v4: own(true),
        v6: own(false),
    }
}

/// A link with our prefix that no record names can only be from before /run was cleared: nobody will ever delete it.
async fn remove_unrecorded_links(attachments: &[Attachment]) -> anyhow::Result<()> {
    let recorded: BTreeSet<String> = attachments.iter().map(|a| link_name(&a.key)).collect();
    for stale in link::list()
        .await?
        .into_iter()
        .filter(|l| !recorded.contains(&l.name))
    {
        tracing::warn!(link = %stale.name, "no attachment is recorded for this link, removing it");
        link::delete(&stale.name).await?;
    }
    Ok(())
}

fn watch_everything(
    tasks: &mut Tasks,
    client: &Client,
    node: &str,
    events: &mpsc::Sender<Event>,
    blocks: mpsc::Sender<Change<IPBlock>>,
) {
    let all = watcher::Config::default;
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::Nodes,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::Pods,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::Namespaces,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::Policies,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::Pools,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::Configurations,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::Peers,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::BgpNodes,
        events.clone(),
    ));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        all(),
        Event::NodeConfigs,
        events.clone(),
    ));
    let own = all().fields(&format!("spec.nodeName={node}"));
    tasks.spawn(watching::run(
        Api::all(client.clone()),
        own,
        |change| change,
        blocks,
    ));
}

/// Waits for a signal or for a task that ends unasked.
async fn until_told(mut tasks: Tasks, cancel: CancellationToken) -> anyhow::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let result = tokio::select! {
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("a task ended unasked")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
    };
    tracing::info!("ending; routes and rules stay in the kernel");
    cancel.cancel();
    // What has not ended by then holds nothing that a successor would miss.
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
    result
}
