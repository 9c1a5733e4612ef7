//! `margay-agent speaker`: the agent's BGP speaker and its kernel routes without Kubernetes, as one file says.
//!
//! ```text
//!  speaker.toml ──SIGHUP──► Settings (watch) ─► host ──Desired──► speaker ──Learned──► host ─► kernel
//!                                                                    ▲
//!  margayctl ──────────────────────── socket ─► api ─────────────────┘
//! ```
//! For a route reflector's machine, a host outside the cluster, and for measuring. One namespace has one owner of Margay's routes: an agent or a
//! speaker with `fib = true`, never two.
//!
//! The end is the agent's: on SIGTERM nothing is withdrawn and nothing is said, so that peers keep our routes (RFC 4724), and the kernel's stay.

mod file;
mod host;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use margay_proto::rpc::agent::agent_server::AgentServer;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use settings::{Fixed, Refused, SOCKET, Settings};

use crate::health::{Gates, Health, Heartbeats, Metrics};
use crate::program::{self, Tasks};
use crate::watch::Outages;
use crate::{api, health, speaker};
use host::Host;

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The configuration; read again on SIGHUP.
    #[arg(long, default_value = "/etc/margay/speaker.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Say what is wrong with the file and end.
    #[arg(long)]
    pub check: bool,
    /// Log filter, as in `info,margay_agent=debug`.
    #[arg(long, env = "MARGAY_LOG", default_value = "info")]
    pub log: String,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the file is refused, the kernel cannot be asked, or a task ends unasked.
pub fn main(options: Options) -> anyhow::Result<()> {
    let settings = Settings::read(&options.config)?;
    if options.check {
        return Ok(());
    }
    program::run(&options.log, serve(options.config, settings))
}

/// A task that does not beat for this long makes `/healthz` fail.
const STUCK: Duration = Duration::from_secs(30);

async fn serve(file: PathBuf, settings: Settings) -> anyhow::Result<()> {
    let hangups = signal(SignalKind::hangup())?;
    let fixed = settings.fixed.clone();
    tracing::info!(name = fixed.name, file = %file.display(), peers = settings.peers.len(), fib = settings.fib, version = env!("CARGO_PKG_VERSION"), "starting");
    let (tasks, cancel) = (&mut Tasks::new(), CancellationToken::new());
    let (metrics, heartbeats) = (Arc::new(Metrics::new()), Heartbeats::new());
    if let Some(port) = fixed.metrics_port {
        let health = Health {
            heartbeats: heartbeats.clone(),
            gates: Gates::new(),
            metrics: metrics.clone(),
            outages: Outages::default(),
        };
        tasks.spawn(health::serve(port, health, cancel.clone()));
    }
    // A run leaves its socket behind: nothing else tells a restart where no routes are in the kernel.
    let left = fixed.socket.exists();
    let (keep, follow) = watch::channel(Arc::new(settings));
    let (host, desired) = Host::open(follow, left, metrics.clone()).await?;
    let beat = heartbeats.register("speaker", STUCK);
    let (driver, handle) = speaker::new(desired, metrics, beat);
    let service = api::AgentService::standalone(fixed.name.clone(), handle.clone());
    let routes = tonic::service::Routes::new(AgentServer::new(service));
    let (socket, running) = (fixed.socket.clone(), cancel.clone());
    tasks.spawn(async move { api::serve(&socket, routes, running).await });
    tasks.spawn(program::apart("speaker", driver.run(cancel.clone())));
    tasks.spawn(host.run(handle, heartbeats.register("kernel", STUCK), cancel.clone()));
    tasks.spawn(reload(file, keep, hangups, cancel.clone()));
    program::until_told(std::mem::take(tasks), cancel).await
}

/// Reads the file again whenever it is asked to.
async fn reload(
    file: PathBuf,
    settings: watch::Sender<Arc<Settings>>,
    mut hangups: Signal,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            hangup = hangups.recv() => hangup.context("SIGHUP cannot be received any more")?,
        }
        reread(&file, &settings);
    }
}

fn reread(file: &Path, settings: &watch::Sender<Arc<Settings>>) {
    let new = match Settings::read(file) {
        Ok(new) => new,
        Err(refused) => {
            for fault in &refused.faults {
                tracing::error!(file = %file.display(), "refused, what is running stays as it is: {fault}");
            }
            return;
        }
    };
    if new.fixed != settings.borrow().fixed {
        tracing::warn!(file = %file.display(), "name, socket and metrics-port count from the next start on");
    }
    tracing::info!(file = %file.display(), peers = new.peers.len(), "read again");
    settings.send_replace(Arc::new(new));
}
