//! Every TCP socket of the agent is made here, so that its options are in one place.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use margay_bgp::Dial;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How long a peer may take to answer a SYN.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// DSCP CS6, network control, in its octet (RFC 4594 section 3.1): BGP survives a congested link.
const NETWORK_CONTROL: u32 = 0xc0;

/// Listens on every address of both families, or of IPv4 where the kernel has no IPv6.
///
/// The backlog is the system's maximum: all nodes of a cluster may connect in the same second.
///
/// # Errors
/// What the kernel says, most often that the port is in use.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    match listen_on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(error) if lacks_ipv6(&error) => {
            listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        }
        listener => listener,
    }
}

/// Connects as the speaker asked. Never weaker than it asked: a protection that is not there is an error.
pub(super) async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    if let Some(missing) = missing_protection(dial.gtsm, dial.password.is_some()) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, missing));
    }
    let socket = Socket::new(
        Domain::for_address(dial.remote),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    tune(&socket, dial.remote.ip())?;
    if let Some(source) = dial.source {
        let place = |error: io::Error| {
            io::Error::new(error.kind(), format!("source address {source}: {error}"))
        };
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .map_err(place)?;
    }
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(dial.remote);
    let timeout = |_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {CONNECT_TIMEOUT:?}"),
        )
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(timeout)?
}

/// Options of a connection that a peer opened.
pub(super) fn accepted(stream: TcpStream, remote: IpAddr) -> io::Result<TcpStream> {
    let socket = Socket::from(stream.into_std()?);
    tune(&socket, remote)?;
    TcpStream::from_std(socket.into())
}

/// Which protection that a peer's configuration demands this build cannot give.
pub(super) fn missing_protection(gtsm: bool, password: bool) -> Option<&'static str> {
    match (gtsm, password) {
        (_, true) => {
            Some("TCP MD5 passwords are not supported by this version; the session stays down")
        }
        (true, false) => {
            Some("TTL security is not supported by this version; the session stays down")
        }
        (false, false) => None,
    }
}

/// Listens on one address.
///
/// # Errors
/// What the kernel says: the port is in use, or the node has no such address.
pub(super) fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted agent does not wait for the TIME_WAIT of its predecessor's connections.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // The kernel cuts it to net.core.somaxconn.
    socket.listen(i32::MAX)?;
    TcpListener::from_std(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// Updates leave when they are ready, ahead of other traffic.
fn tune(socket: &Socket, remote: IpAddr) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    match remote.to_canonical() {
        IpAddr::V4(_) => socket.set_tos_v4(NETWORK_CONTROL),
        IpAddr::V6(_) => socket.set_tclass_v6(NETWORK_CONTROL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(remote: SocketAddr) -> Dial {
        Dial {
            connection: margay_bgp::ConnectionId(1),
            peer: remote.ip(),
            remote,
            source: None,
            gtsm: false,
            password: None,
        }
    }

    #[tokio::test]
    async fn the_dialler_speaks_from_the_source_address() {
        let listener = listen(0).unwrap();
        let remote = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let dial = Dial {
            source: Some([127, 0, 0, 9].into()),
            ..dial(remote)
        };
        let (stream, accepted_by) = tokio::join!(connect(&dial), listener.accept());
        assert!(stream.unwrap().nodelay().unwrap());
        let (incoming, from) = accepted_by.unwrap();
        assert_eq!(from.ip().to_canonical(), dial.source.unwrap());
        assert!(accepted(incoming, from.ip()).unwrap().nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_foreign_source_address_is_named() {
        let dial = Dial {
            source: Some([192, 0, 2, 1].into()),
            ..dial(([127, 0, 0, 1], 1).into())
        };
        assert!(
            connect(&dial)
                .await
                .unwrap_err()
                .to_string()
                .contains("source address 192.0.2.1")
        );
    }

    #[tokio::test]
    async fn a_demanded_protection_that_is_not_there_is_an_error() {
        let dial = Dial {
            gtsm: true,
            ..dial(([127, 0, 0, 1], 1).into())
        };
        assert_eq!(
            connect(&dial).await.unwrap_err().kind(),
            io::ErrorKind::Unsupported
        );
    }
}
