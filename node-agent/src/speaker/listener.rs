//! The task that listens for peers: follows the configured port, survives everything, says what is wrong.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::{holder, socket};

/// First and longest pause between attempts to bind.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Pause after an accept that failed, which is most often for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A connection that a peer opened, with its canonical addresses.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) remote: IpAddr,
    pub(super) local: IpAddr,
    pub(super) stream: TcpStream,
}

/// Listens on the port that `ports` names, `None` for none, until its sender is gone.
///
/// `trouble` holds why nobody can connect, with the remedy; `None` when all is well.
pub(super) async fn run(
    mut ports: watch::Receiver<Option<u16>>,
    accepted: mpsc::Sender<Incoming>,
    trouble: watch::Sender<Option<String>>,
) {
    loop {
        let port = *ports.borrow_and_update();
        tokio::select! {
            changed = ports.changed() => if changed.is_err() { return },
            never = serve(port, &accepted, &trouble) => match never {},
        }
    }
}

async fn serve(
    port: Option<u16>,
    accepted: &mpsc::Sender<Incoming>,
    trouble: &watch::Sender<Option<String>>,
) -> Infallible {
    let Some(port) = port else {
        trouble.send_replace(None);
        return std::future::pending().await;
    };
    let listener = bind(port, trouble).await;
    tracing::info!(port, "listening for BGP peers");
    loop {
        match accept(&listener).await {
            // A driver that is gone aborts this task, too.
            Ok(incoming) => drop(accepted.send(incoming).await),
            Err(error) => {
                tracing::warn!(port, %error, "cannot accept a BGP connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn bind(port: u16, trouble: &watch::Sender<Option<String>>) -> TcpListener {
    let (mut pause, longest) = RETRY;
    loop {
        match socket::listen(port) {
            Ok(listener) => {
                trouble.send_replace(None);
                return listener;
            }
            Err(error) => {
                let text = explain(port, &error).await;
                tracing::warn!(port, "{text}");
                trouble.send_replace(Some(text));
            }
        }
        sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

async fn accept(listener: &TcpListener) -> io::Result<Incoming> {
    let (stream, remote) = listener.accept().await?;
    let remote = remote.ip().to_canonical();
    let local = stream.local_addr()?.ip().to_canonical();
    Ok(Incoming {
        remote,
        local,
        stream: socket::accepted(stream, remote)?,
    })
}

/// The failure in words, with what to do about it.
async fn explain(port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            // Reads /proc, so not on the runtime's threads.
            let holder = tokio::task::spawn_blocking(move || holder::of_port(port))
                .await
                .ok()
                .flatten();
            let holder = holder.unwrap_or_else(|| {
                format!("another program (find it on the node with `ss -ltnp sport = :{port}`)")
            });
            format!(
                "port {port} is in use by {holder}; stop it or set another listenPort in the BGPConfiguration"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} may not be opened: the agent lacks CAP_NET_BIND_SERVICE")
        }
        _ => format!("cannot listen on port {port}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use super::*;

    async fn until(
        trouble: &mut watch::Receiver<Option<String>>,
        wanted: impl Fn(&Option<String>) -> bool,
    ) -> Option<String> {
        let found = trouble.wait_for(|text| wanted(text));
        tokio::time::timeout(Duration::from_secs(10), found)
            .await
            .unwrap()
            .unwrap()
            .clone()
    }

    #[tokio::test]
    async fn a_taken_port_is_explained_and_taken_over_when_free() {
        let other = std::net::TcpListener::bind("[::]:0")
            .or_else(|_| std::net::TcpListener::bind("0.0.0.0:0"))
            .unwrap();
        let port = other.local_addr().unwrap().port();
        let (_ports, follow) = watch::channel(Some(port));
        let (sender, mut accepted) = mpsc::channel(1);
        let (state, mut trouble) = watch::channel(None);
        let task = tokio::spawn(run(follow, sender, state));

        let text = until(&mut trouble, Option::is_some).await.unwrap();
        assert!(
            text.contains(&format!("port {port} is in use by")),
            "{text}"
        );
        assert!(
            text.contains(&format!("(pid {})", std::process::id())),
            "{text}"
        );
        assert!(text.contains("listenPort"), "{text}");

        drop(other);
        until(&mut trouble, Option::is_none).await;
        let _peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let incoming = accepted.recv().await.unwrap();
        assert_eq!(
            (incoming.remote, incoming.local),
            (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into())
        );
        task.abort();
    }

    #[tokio::test]
    async fn the_port_follows_the_configuration() {
        let free = || {
            std::net::TcpListener::bind("[::]:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let (first, second) = (free(), free());
        let (ports, follow) = watch::channel(Some(first));
        let (sender, mut accepted) = mpsc::channel(1);
        let task = tokio::spawn(run(follow, sender, watch::channel(None).0));
        for port in [first, second] {
            ports.send_replace(Some(port));
            let start = Instant::now();
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_err()
            {
                assert!(
                    start.elapsed() < Duration::from_secs(10),
                    "port {port} never opened"
                );
                tokio::task::yield_now().await;
            }
            accepted.recv().await.unwrap();
        }
        ports.send_replace(None);
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, second))
            .await
            .is_ok()
        {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "port {second} never closed"
            );
        }
        drop(ports);
        task.await.unwrap();
    }
}
