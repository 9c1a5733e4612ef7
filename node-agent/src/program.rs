//! A long-running program: log, runtime, and the end of all its tasks together.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
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

/// Runs a task on threads of its own, and ends with it.
///
/// A netlink request holds its thread for as long as somebody else holds the kernel's RTNL, seconds on a node whose containers come and go:
/// what has to answer in time does not share threads with whoever asks the kernel.
///
/// # Errors
/// The task's, or that no thread can be made.
pub(crate) async fn apart(
    name: &'static str,
    task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    let (told, end) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name(name)
                .enable_all()
                .build();
            let ended = runtime.map_err(Into::into).and_then(|runtime| {
                let ended = runtime.block_on(task);
                runtime.shutdown_background();
                ended
            });
            // Nobody waits any more when the program ends.
            let _ = told.send(ended);
        })?;
    end.await?
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_task_apart_goes_on_while_every_other_thread_is_held() {
        let (ticks, ticked) = mpsc::channel();
        let task = tokio::spawn(apart("apart", async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                ticks.send(())?;
            }
            anyhow::bail!("its own end")
        }));
        tokio::task::yield_now().await;
        // This is the only thread of this runtime.
        for _ in 0..3 {
            ticked.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        let ended = task.await.unwrap();
        assert_eq!(ended.unwrap_err().to_string(), "its own end");
    }
}
