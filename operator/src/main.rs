//! Installs Margay from an `Installation` and runs the controllers that a cluster needs one of.
//!
//! ```text
//!  Installation, Pods ────────────watch──► Installer ──server-side apply──► pools, BGPConfiguration, RBAC, DaemonSet; conditions
//!                                              ▲──────────────────watch─────────────────────┘ what others change is applied again
//!  IPPools, IPBlocks ─────────────watch──► Pools ──────────status─────────► Active, Overlap, blocks, allocated
//!  Lease ◄──────────────────────renew──── Lease ──leading (watch)──► both; they write only while it is true
//!  /healthz /readyz /metrics ◄──────────── Health
//! ```
//!
//! Every task lives in one `JoinSet`: one that ends unasked ends the operator with an error. An API server that cannot be reached
//! is asked again and again in the process. SIGTERM stops the writers, gives the lease back and ends within two seconds.

mod desired;
mod health;
mod install;
mod lease;
mod owned;
mod pools;
mod status;
mod watch;

use anyhow::{Context, Result, bail};
use clap::Parser;
use health::Health;
use kube::{Client, Config};
use margay_proto::names;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Installs Margay from the Installation object named `default`.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Namespace of the operator and of the agents.
    #[arg(long, env = "POD_NAMESPACE", default_value = names::NAMESPACE)]
    namespace: String,
    /// Who holds the lease.
    #[arg(long, env = "POD_NAME", default_value_t = format!("margay-operator-{}", std::process::id()))]
    identity: String,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, default_value_t = SocketAddr::from(([0; 8], names::OPERATOR_HEALTH_PORT)))]
    listen: SocketAddr,
    /// Log filter.
    #[arg(long, env = "MARGAY_LOG", default_value = "info")]
    log: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    // The client logs every retry as an error of its own; the tasks say once what could not be done.
    let filter = format!("{},kube_client::client::builder=off", options.log);
    let filter =
        EnvFilter::try_new(&filter).with_context(|| format!("log filter `{}`", options.log))?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .init();
    let client = client().await?;

    let stop = CancellationToken::new();
    let health = Arc::new(Health::default());
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    let (leading, leads) = tokio::sync::watch::channel(false);
    let installer = install::Installer::spawn(&mut tasks, &client, &options.namespace, &health);
    let pools = pools::Pools::spawn(&mut tasks, &client, &health);
    tasks.spawn(health::serve(options.listen, health.clone()));
    tasks.spawn(installer.run(leads.clone(), stop.clone()));
    tasks.spawn(pools.run(leads, stop.clone()));
    let election = lease::Election::new(client, &options.namespace, &options.identity, health);
    let lease = tasks.spawn(election.run(leading, stop.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = options.identity,
        "operator started"
    );

    tokio::select! {
        ended = tasks.join_next() => match ended {
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(panic)) => return Err(panic.into()),
            _ => bail!("a task ended unasked"),
        },
        () = terminated()? => {}
    }
    tracing::info!("asked to stop");
    stop.cancel();
    let released = async { while !lease.is_finished() && tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(1500), released)
        .await
        .is_err()
    {
        tracing::warn!("lease not given back in time; it expires by itself");
    }
    Ok(())
}

async fn client() -> Result<Client> {
    let mut config = Config::infer()
        .await
        .context("API server: no in-cluster environment and no kubeconfig")?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // A watch brings a bookmark every minute; a connection without one is dead.
    config.read_timeout = Some(Duration::from_secs(100));
    Client::try_from(config).context("API server: client")
}

fn terminated() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
