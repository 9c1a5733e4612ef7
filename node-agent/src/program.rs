//! A long-running program: log, runtime, and the end of all its tasks together.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks that live as long as the program.
pub(crate) type Tasks = JoinSet<anyhow::Result<()>>;

/// Logs as `filter` says, and runs `program` to its end.
///
/// # Errors
/// The program's.
pub(crate) fn run(
    filter: &str,
    program: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    // The client logs each failed request as an error of its own; whoever asked logs it with its cause.
    let (directives, wrong) = match tracing_subscriber::EnvFilter::try_new(filter) {
        Ok(directives) => (directives, None),
        // A node without an agent loses its routes: less said is better than that.
        Err(error) => (tracing_subscriber::EnvFilter::new("info"), Some(error)),
    };
    let directives = directives.add_directive("kube_client::client::builder=off".parse()?);
    tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    if let Some(error) = wrong {
        tracing::error!(log = filter, %error, "this log filter is not understood, `info` is used");
    }
    // A half-dead agent is worse than a restart: the kernel forwards meanwhile.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(program);
    // Not for a slow disk: what is not written yet has been promised to nobody.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Waits for a signal or for a task that ends unasked.
///
/// # Errors
/// Why a task ended.
pub(crate) async fn until_told(mut tasks: Tasks, cancel: CancellationToken) -> anyhow::Result<()> {
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
