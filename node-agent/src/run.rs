//! `margay-agent run`: wiring. Configuration, tasks, channels between them, and the end.
//!
//! ```text
//!  watch::run × 9 ──Event──► engine ──Plan──► actuate (kernel)   ──Snapshot──► engine
//!  cni::server    ──Event──►   │    ──Plan──► addresses (blocks) ──Blocks────► engine
//!                              │    ──Desired─► speaker (BGP)    ──Learned───► engine
//!                              └────Plan──► report (BGPNode, NodeState), warnings (Events), serving (conflist)
//! ```
//! Every task lives in one JoinSet; one that ends unasked ends the agent. SIGTERM ends them all; the kernel keeps forwarding and the peers
//! keep the routes, because nothing is withdrawn.

#[cfg(test)]
mod cut_off;
mod engine_task;
mod serving;
mod watches;

use crate::{
    actuate::{Actuator, Applied, KeptTable},
    addresses::{self, Addresses},
    api,
    blocks::KubeStore,
    cni::{Records, Told, Turns, conflist, link_name, repair, server::Server},
    doctor::Doctor,
    engine::{Change, Engine, Event, Plan, Start},
    health::{self, Gates, Heartbeats, Metrics},
    kernel::{conntrack::Flows, link, route::Target, sysctl},
    program::{self, Tasks},
    report::Reporter,
    speaker,
    state::{LastKnown, StateFile},
    warnings,
    watch::Outages,
};
use anyhow::Context;
use kube::Client;
use margay_bgp::Families;
use margay_ipam::Attachment;
use margay_proto::{
    crd::IPBlock,
    names,
    rpc::{
        agent::{Address, agent_server::AgentServer},
        cni::cni_server::CniServer,
    },
};
use std::{collections::BTreeSet, path::Path, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
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
    let log = options.log.clone();
    program::run(&log, serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    tracing::info!(node = %options.node, version = env!("CARGO_PKG_VERSION"), "starting");
    let gates = Gates::new();
    let gate = gates.gate("pods", "starting");
    let mut wiring = Wiring::new(options, gates);
    let ground = wiring.ground().await?;
    let client = Client::try_default()
        .await
        .context("credentials of the agent's service account")?;
    let local = wiring.local(ground, &client);
    let (node, events) = (wiring.options.node.clone(), &local.core.events);
    wiring.watches(&client, events, local.blocks);
    let reporter = Reporter {
        node,
        client,
        plans: local.core.plans,
        applied: local.applied,
        speaker: local.core.speaker,
        serving: local.serving,
        blocks_refused: local.blocks_refused,
        gate,
    };
    wiring.tasks.spawn(reporter.run(wiring.cancel.clone()));
    program::until_told(wiring.tasks, wiring.cancel).await
}

/// What every task gets a part of.
struct Wiring {
    options: Options,
    tasks: Tasks,
    cancel: CancellationToken,
    metrics: Arc<Metrics>,
    heartbeats: Heartbeats,
    outages: Outages,
}

/// What the node itself remembers: its files and its kernel.
struct Ground {
    records: Records,
    attachments: Vec<Attachment>,
    state: StateFile,
    known: Option<LastKnown>,
    actuator: Actuator,
    applied: watch::Receiver<Applied>,
    damaged: mpsc::Receiver<String>,
}

/// The engine's and the speaker's ends.
struct Core {
    events: mpsc::Sender<Event>,
    plans: watch::Receiver<Arc<Plan>>,
    speaker: speaker::Handle,
}

/// The ends of the addresses' task.
struct AddressEnds {
    handle: addresses::Handle,
    shown: watch::Receiver<Arc<Vec<Address>>>,
    watched: mpsc::Sender<Change<IPBlock>>,
}

/// All of the agent that lives without the watches, and the ends that these and the report need.
struct Local {
    core: Core,
    applied: watch::Receiver<Applied>,
    serving: watch::Receiver<Option<String>>,
    blocks: mpsc::Sender<Change<IPBlock>>,
    blocks_refused: watch::Receiver<Vec<String>>,
}

/// A task that does not beat for this long makes `/healthz` fail.
const STUCK: Duration = Duration::from_secs(30);

impl Wiring {
    fn new(options: Options, gates: Gates) -> Self {
        let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (metrics, heartbeats) = (Arc::new(Metrics::new()), Heartbeats::new());
        let outages = Outages::default();
        let health = health::Health {
            heartbeats: heartbeats.clone(),
            gates,
            outages: outages.clone(),
            metrics: metrics.clone(),
        };
        tasks.spawn(health::serve(options.health_port, health, cancel.clone()));
        Self {
            options,
            tasks,
            cancel,
            metrics,
            heartbeats,
            outages,
        }
    }

    /// Starts a task that may be dropped at any of its awaits, and is when the agent ends.
    fn spawn(&mut self, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            let ended = cancel.run_until_cancelled(task).await;
            ended.unwrap_or(Ok(()))
        });
    }

    /// Starts everything but what asks the API server by itself.
    fn local(&mut self, ground: Ground, client: &Client) -> Local {
        let core = self.core(&ground);
        let applied = ground.applied.clone();
        let (refused, blocks_refused) = watch::channel(Vec::new());
        let addresses = self.addresses(&core, &ground, client, refused);
        self.kernel(&core, ground.actuator);
        let (task, serving) = serving::Serving::new(
            core.plans.clone(),
            applied.clone(),
            serving::Files {
                plugin: self.options.plugin.clone(),
                cni_bin: self.options.cni_bin.clone(),
                conflist: self.options.conflist.clone(),
            },
        );
        self.tasks.spawn(task.run(self.cancel.clone()));
        let node = self.options.node.clone();
        let (writer, recorder) = warnings::Writer::new(node, client.clone(), core.plans.clone());
        self.tasks.spawn(writer.run(self.cancel.clone()));
        let server = Server {
            engine: core.events.clone(),
            addresses: addresses.handle,
            applied: applied.clone(),
            plans: core.plans.clone(),
            serving: serving.clone(),
            records: ground.records,
            metrics: self.metrics.clone(),
            flows: Flows::start(),
            turns: Turns::default(),
            told: Told::new(recorder),
        };
        let doctor = Doctor {
            node: self.options.node.clone(),
            plans: core.plans.clone(),
            speaker: core.speaker.clone(),
            serving: serving.clone(),
            outages: self.outages.clone(),
            plugin: self.options.cni_bin.join(names::CNI_NAME),
            conflist: self.options.conflist.clone(),
        };
        self.socket(server, ground.damaged, addresses.shown, doctor);
        Local {
            core,
            applied,
            serving,
            blocks: addresses.watched,
            blocks_refused,
        }
    }

    async fn ground(&self) -> anyhow::Result<Ground> {
        // First, because it puts the policy table back if somebody took it while no agent ran.
        let (links, damaged) = mpsc::channel(64);
        let (actuator, applied) =
            Actuator::open(self.metrics.clone(), KeptTable::default(), links).await?;
        let records = Records::open(names::ATTACHMENTS)
            .with_context(|| format!("attachment records in {}", names::ATTACHMENTS))?;
        let attachments = records.all();
        remove_unrecorded_links(&attachments).await?;
        let state =
            StateFile::open(names::STATE).with_context(|| format!("state in {}", names::STATE))?;
        sysctl::enable_forwarding(Path::new(sysctl::RECORD))?;
        conflist::install_plugin(&self.options.plugin, &self.options.cni_bin)?;
        Ok(Ground {
            records,
            attachments,
            known: state.load(),
            state,
            actuator,
            applied,
            damaged,
        })
    }

    fn core(&mut self, ground: &Ground) -> Core {
        let (events, queue) = mpsc::channel(1024);
        let known = ground.known.clone();
        let engine = Engine::new(Start {
            node: self.options.node.clone(),
            blocks: known.as_ref().map(|k| k.blocks.clone()),
            inputs: known.map(|k| k.inputs).unwrap_or_default(),
            attachments: ground.attachments.clone(),
            forwarding: forwarding(&ground.actuator),
        });
        let (task, plans, desired) =
            engine_task::EngineTask::new(engine, queue, ground.state.clone());
        let heartbeat = self.heartbeats.register("engine", STUCK);
        self.tasks.spawn(task.run(heartbeat, self.cancel.clone()));
        let heartbeat = self.heartbeats.register("speaker", STUCK);
        let (driver, speaker) = speaker::new(desired, self.metrics.clone(), heartbeat);
        let sessions = driver.run(self.cancel.clone());
        self.tasks.spawn(program::apart("speaker", sessions));
        let learned = speaker.learned.clone();
        self.spawn(engine_task::follow(learned, events.clone(), Event::Learned));
        let next_hops = speaker.next_hops.clone();
        self.spawn(engine_task::follow(
            next_hops,
            events.clone(),
            Event::NextHops,
        ));
        Core {
            events,
            plans,
            speaker,
        }
    }

    fn kernel(&mut self, core: &Core, actuator: Actuator) {
        let heartbeat = self.heartbeats.register("kernel", STUCK);
        self.tasks.spawn(actuator.keeper(self.cancel.clone()));
        self.tasks.spawn(actuator.run(
            core.plans.clone(),
            core.events.clone(),
            heartbeat,
            self.cancel.clone(),
        ));
    }

    fn addresses(
        &mut self,
        core: &Core,
        ground: &Ground,
        client: &Client,
        refused: watch::Sender<Vec<String>>,
    ) -> AddressEnds {
        let (watched_blocks, watched) = mpsc::channel(256);
        let known = ground.known.as_ref();
        let (task, handle, shown) = Addresses::new(addresses::Start {
            node: self.options.node.clone(),
            blocks: known.map(|k| k.blocks.clone()).unwrap_or_default(),
            attachments: ground.attachments.clone(),
            plans: core.plans.clone(),
            watched,
            store: KubeStore::new(client.clone()),
            engine: core.events.clone(),
            metrics: self.metrics.clone(),
            refused,
        });
        let heartbeat = self.heartbeats.register("addresses", STUCK);
        self.tasks.spawn(task.run(heartbeat, self.cancel.clone()));
        AddressEnds {
            handle,
            shown,
            watched: watched_blocks,
        }
    }

    fn socket(
        &mut self,
        server: Server,
        damaged: mpsc::Receiver<String>,
        shown: watch::Receiver<Arc<Vec<Address>>>,
        doctor: Doctor,
    ) {
        self.tasks
            .spawn(repair::run(server.clone(), damaged, self.cancel.clone()));
        let service = api::AgentService::new(shown, doctor);
        let routes = tonic::service::Routes::new(AgentServer::new(service))
            .add_service(CniServer::new(server));
        let cancel = self.cancel.clone();
        self.tasks
            .spawn(async move { api::serve(Path::new(names::AGENT_SOCKET), routes, cancel).await });
    }
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
