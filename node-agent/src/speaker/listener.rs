//! The task that listens for peers: follows the configured port, addresses and keys, survives everything, says what is wrong.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::desired::Place;
use super::socket::{Arrival, Keys};
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
    /// What its first packet proves; `None` when the kernel has not kept it.
    pub(super) arrival: Option<Arrival>,
}

/// Listens where `places` says, `None` for nowhere, until its sender is gone.
///
/// `trouble` holds why nobody can connect, with the remedy; `None` when all is well.
pub(super) async fn run(
    mut places: watch::Receiver<Option<Place>>,
    keys: watch::Receiver<Keys>,
    accepted: mpsc::Sender<Incoming>,
    trouble: watch::Sender<Option<String>>,
) {
    loop {
        let place = places.borrow_and_update().clone();
        tokio::select! {
            changed = places.changed() => if changed.is_err() { return },
            never = serve(place, keys.clone(), &accepted, &trouble) => match never {},
        }
    }
}

async fn serve(
    place: Option<Place>,
    keys: watch::Receiver<Keys>,
    accepted: &mpsc::Sender<Incoming>,
    trouble: &watch::Sender<Option<String>>,
) -> Infallible {
    let Some(place) = place else {
        trouble.send_replace(None);
        return std::future::pending().await;
    };
    let port = place.port;
    let listeners = bind(&place, trouble).await;
    tracing::info!(port, addresses = ?place.addresses, "listening for BGP peers");
    let each = listeners.iter().map(|listener| async move {
        loop {
            match accept(listener).await {
                // A driver that is gone aborts this task, too.
                Ok(incoming) => drop(accepted.send(incoming).await),
                Err(error) => {
                    tracing::warn!(port, %error, "cannot accept a BGP connection");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
    // The keys first: whom they are for shall not get in before.
    let keys = follow_keys(&listeners, keys, trouble);
    let (never, _) = futures::future::join(keys, futures::future::join_all(each)).await;
    never
}

/// Sets and takes away keys as peers come and go.
async fn follow_keys(
    listeners: &[TcpListener],
    mut keys: watch::Receiver<Keys>,
    trouble: &watch::Sender<Option<String>>,
) -> Infallible {
    let mut old = Keys::default();
    loop {
        let new = keys.borrow_and_update().clone();
        let failed: Vec<_> = listeners
            .iter()
            .flat_map(|listener| socket::set_keys(listener, &old, &new))
            .collect();
        let text = failed.first().map(|(peers, error)| {
            let count = failed.len();
            format!("{count} TCP MD5 keys cannot be set for listening, the first for {peers}: {error}; these peers cannot connect to this node, but it can connect to them. Raise net.core.optmem_max, which bounds the keys")
        });
        if let Some(text) = &text {
            tracing::warn!("{text}");
        }
        trouble.send_replace(text);
        // What failed is tried again with the next change.
        old = new;
        for (peers, _) in failed {
            old.remove(&peers);
        }
        if keys.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn bind(place: &Place, trouble: &watch::Sender<Option<String>>) -> Vec<TcpListener> {
    let (mut pause, longest) = RETRY;
    loop {
        let bound: Result<Vec<_>, _> = match &place.addresses {
            None => socket::listen(place.port).map(|listener| vec![listener]),
            Some(all) => all
                .iter()
                .map(|ip| socket::listen_on(SocketAddr::new(*ip, place.port)))
                .collect(),
        };
        match bound {
            Ok(listeners) => {
                trouble.send_replace(None);
                return listeners;
            }
            Err(error) => {
                let text = explain(place.port, &error).await;
                tracing::warn!(port = place.port, "{text}");
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
    let (stream, arrival) = socket::accepted(stream, remote)?;
    Ok(Incoming {
        remote,
        local,
        stream,
        arrival,
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
                "port {port} is in use by {holder}; stop it, or set another listenPort in the BGPConfiguration, listen.port in a NodeConfig or port under [listen] in speaker.toml"
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

    /// Its sender is gone, and the listener goes on.
    fn no_keys() -> watch::Receiver<Keys> {
        watch::channel(Keys::default()).1
    }

    fn everywhere(port: u16) -> Option<Place> {
        Some(Place {
            port,
            addresses: None,
        })
    }

    #[tokio::test]
    async fn only_the_addresses_that_are_named_take_connections() {
        let free = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let named = ["127.0.0.2", "::1"].map(|ip| ip.parse().unwrap());
        let (_places, follow) = watch::channel(Some(Place {
            port,
            addresses: Some(named.to_vec()),
        }));
        let (sender, mut accepted) = mpsc::channel(1);
        let task = tokio::spawn(run(follow, no_keys(), sender, watch::channel(None).0));
        for address in named {
            let start = Instant::now();
            while TcpStream::connect((address, port)).await.is_err() {
                assert!(start.elapsed() < Duration::from_secs(10), "{address}");
                tokio::task::yield_now().await;
            }
            assert_eq!(accepted.recv().await.unwrap().local, address);
        }
        let other = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        task.abort();
    }

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
        let (_places, follow) = watch::channel(everywhere(port));
        let (sender, mut accepted) = mpsc::channel(1);
        let (state, mut trouble) = watch::channel(None);
        let task = tokio::spawn(run(follow, no_keys(), sender, state));

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
        let (places, follow) = watch::channel(everywhere(first));
        let (sender, mut accepted) = mpsc::channel(1);
        let task = tokio::spawn(run(follow, no_keys(), sender, watch::channel(None).0));
        for port in [first, second] {
            places.send_replace(everywhere(port));
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
        places.send_replace(None);
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
        drop(places);
        task.await.unwrap();
    }
}
