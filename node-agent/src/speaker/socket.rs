//! Every TCP socket of the agent is made here, so that its options are in one place.

mod arrival;
mod option;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

pub(super) use arrival::Arrival;
use ipnetwork::IpNetwork;
use margay_bgp::{Dial, Password, Protection};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
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

/// Connects as the speaker asked. Never weaker than it asked: a protection that cannot be set is an error.
pub(super) async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(dial.remote),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    tune(&socket, dial.remote.ip())?;
    protect(&socket, dial.remote.ip(), &dial.protection)?;
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

/// Options of a connection that a peer opened, and what its first packet proves.
pub(super) fn accepted(
    stream: TcpStream,
    remote: IpAddr,
) -> io::Result<(TcpStream, Option<Arrival>)> {
    let socket = Socket::from(stream.into_std()?);
    tune(&socket, remote)?;
    let arrival = Arrival::parse(&option::saved_syn(&socket)?);
    Ok((TcpStream::from_std(socket.into())?, arrival))
}

/// A connection's socket beside its stream, to change its protection while it lives.
#[derive(Debug)]
pub(super) struct Guard {
    socket: Socket,
    remote: IpAddr,
}

impl Guard {
    /// Of a connection.
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self {
            socket: SockRef::from(stream).try_clone()?,
            remote: stream.peer_addr()?.ip().to_canonical(),
        })
    }

    /// Sets the protection. Nothing of the connection is lost: what the peer has sent otherwise is dropped and sent again.
    pub(super) fn set(&self, protection: &Protection) -> io::Result<()> {
        protect(&self.socket, self.remote, protection)
    }
}

/// TCP MD5 keys of a listening socket, by the peers that they are for.
pub(super) type Keys = BTreeMap<IpNetwork, Password>;

/// Leads the keys of a listening socket from `old` to `new`. Returns those that could not be set, with the kernel's word.
pub(super) fn set_keys(
    listener: &TcpListener,
    old: &Keys,
    new: &Keys,
) -> Vec<(IpNetwork, io::Error)> {
    let Ok(socket) = SockRef::from(listener).try_clone() else {
        let error = || io::Error::from_raw_os_error(libc::EMFILE);
        return new.keys().map(|peers| (*peers, error())).collect();
    };
    // A socket of one family takes no connection of the other.
    let fits = |peers: &IpNetwork| {
        peers.is_ipv4() || socket.domain().is_ok_and(|domain| domain == Domain::IPV6)
    };
    let gone = old.keys().filter(|peers| !new.contains_key(peers));
    let gone = gone.map(|peers| (peers, None));
    let fresh = new
        .iter()
        .filter(|(peers, password)| old.get(peers) != Some(password));
    let fresh = fresh.map(|(peers, password)| (peers, Some(password)));
    gone.chain(fresh)
        .filter(|(peers, _)| fits(peers))
        .filter_map(|(peers, password)| {
            let error = option::set_md5_key(&socket, *peers, password).err()?;
            Some((*peers, error))
        })
        .collect()
}

fn protect(socket: &Socket, remote: IpAddr, protection: &Protection) -> io::Result<()> {
    let named =
        |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    option::set_md5_key(
        socket,
        remote.to_canonical().into(),
        protection.password.as_ref(),
    )
    .map_err(|error| named("TCP MD5 key", error))?;
    option::set_reach(socket, remote, protection.reach).map_err(|error| named("TTL", error))
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
    option::prepare_listener(&socket)?;
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
