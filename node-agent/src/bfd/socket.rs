//! BFD's UDP sockets: one for each port and family to receive, one for each session to send (RFC 5881 section 4).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use margay_bgp::bfd::SessionConfig;
use nix::sys::socket::sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg, setsockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

/// A datagram as it came.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    /// Port that it was sent to.
    pub(super) port: u16,
    pub(super) ttl: Option<u8>,
    pub(super) octets: &'a [u8],
}

/// All sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    listeners: BTreeMap<Place, Result<Socket, String>>,
    senders: HashMap<IpAddr, Sender>,
    /// Where the search for a free port begins.
    next_port: u16,
}

/// What a receiving socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    port: u16,
    is_ipv4: bool,
}

/// A session's own socket: its port stays the same, so that routers hash its packets alike.
#[derive(Debug)]
struct Sender {
    source: Option<IpAddr>,
    socket: Option<Socket>,
    port: u16,
    trouble: Option<String>,
}

/// RFC 5881 section 4.
const FIRST_PORT: u16 = 49152;
/// RFC 5881 section 5; over several hops it shows how many there were.
const TTL: u32 = 255;
/// DSCP CS6, as BGP has it.
const NETWORK_CONTROL: u32 = 0xc0;
/// A moment's packets of a thousand sessions.
const RECEIVE_BUFFER: usize = 1 << 20;

impl Sockets {
    pub(super) fn new(seed: u64) -> Self {
        let next_port = FIRST_PORT + (seed % u64::from(u16::MAX - FIRST_PORT)) as u16;
        Self {
            listeners: BTreeMap::new(),
            senders: HashMap::new(),
            next_port,
        }
    }

    /// Listens where the sessions need it and nowhere else.
    pub(super) fn listen(&mut self, sessions: &[SessionConfig]) {
        let places: BTreeSet<Place> = sessions
            .iter()
            .map(|session| Place {
                port: session.parameters.path.port(),
                is_ipv4: session.peer.to_canonical().is_ipv4(),
            })
            .collect();
        self.listeners.retain(|place, _| places.contains(place));
        for place in places {
            self.listeners.entry(place).or_insert_with(|| open(place));
        }
    }

    /// Tries again what could not be opened.
    pub(super) fn retry(&mut self) {
        for (place, listener) in &mut self.listeners {
            if listener.is_err() {
                *listener = open(*place);
            }
        }
    }

    /// Why packets cannot be received.
    pub(super) fn troubles(&self) -> Vec<String> {
        let failed = self.listeners.values();
        failed
            .filter_map(|listener| listener.as_ref().err().cloned())
            .collect()
    }

    /// Why packets of a session do not leave.
    pub(super) fn trouble(&self, peer: IpAddr) -> Option<String> {
        self.senders.get(&peer)?.trouble.clone()
    }

    pub(super) fn listening(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners
            .values()
            .flatten()
            .map(|socket| socket.as_fd())
    }

    /// Hands out what has come, until there is no more or no more is wanted.
    pub(super) fn read(&self, mut take: impl FnMut(&Datagram<'_>) -> bool) {
        let mut octets = [0; 128];
        let mut control = nix::cmsg_space!(libc::c_int);
        for (place, socket) in &self.listeners {
            let Ok(socket) = socket else { continue };
            loop {
                let mut parts = [IoSliceMut::new(&mut octets)];
                let flags = MsgFlags::MSG_DONTWAIT;
                let fd = socket.as_raw_fd();
                let Ok(message) =
                    recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags)
                else {
                    break;
                };
                let (source, ttl, length) = (sender(&message), ttl(&message), message.bytes);
                let Some(source) = source else { continue };
                let datagram = Datagram {
                    source,
                    port: place.port,
                    ttl,
                    octets: &octets[..length],
                };
                if !take(&datagram) {
                    return;
                }
            }
        }
    }

    /// Sends from the session's own socket. Whether it is news that it went, or that it did not.
    pub(super) fn send(
        &mut self,
        peer: IpAddr,
        source: Option<IpAddr>,
        port: u16,
        octets: &[u8],
    ) -> bool {
        let moved = self
            .senders
            .get(&peer)
            .is_none_or(|old| old.source != source);
        if moved {
            let port = self.free_port();
            self.senders.insert(peer, Sender::new(source, port));
        }
        let Some(sender) = self.senders.get_mut(&peer) else {
            return false;
        };
        let trouble = sender.send(SocketAddr::new(peer, port), octets).err();
        let trouble = trouble.map(|error| error.to_string());
        let news = sender.trouble != trouble;
        sender.trouble = trouble;
        news
    }

    pub(super) fn forget(&mut self, peer: IpAddr) {
        self.senders.remove(&peer);
    }

    /// A port that no other session of ours has.
    fn free_port(&mut self) -> u16 {
        let taken: BTreeSet<u16> = self.senders.values().map(|sender| sender.port).collect();
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            // With more sessions than ports some have to share.
            if !taken.contains(&port) || taken.len() > usize::from(u16::MAX - FIRST_PORT) {
                return port;
            }
        }
    }
}

impl Sender {
    const fn new(source: Option<IpAddr>, port: u16) -> Self {
        Self {
            source,
            socket: None,
            port,
            trouble: None,
        }
    }

    fn send(&mut self, to: SocketAddr, octets: &[u8]) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(bound(self.source, self.port, to)?),
        };
        socket
            .send_to(octets, &to.into())
            .map(drop)
            .map_err(|error| io::Error::new(error.kind(), format!("sending to {to}: {error}")))
    }
}

/// A socket to send from: an address of the node, and a port that another program may have, in which case the next one is taken.
fn bound(source: Option<IpAddr>, port: u16, to: SocketAddr) -> io::Result<Socket> {
    let socket = datagrams(to.is_ipv4())?;
    if to.is_ipv4() {
        socket.set_ttl_v4(TTL)?;
        socket.set_tos_v4(NETWORK_CONTROL)?;
    } else {
        socket.set_unicast_hops_v6(TTL)?;
        socket.set_tclass_v6(NETWORK_CONTROL)?;
    }
    let address = source.unwrap_or_else(|| unspecified(to.is_ipv4()));
    let ports = (port..=u16::MAX).chain(FIRST_PORT..port);
    for port in ports {
        match socket.bind(&SocketAddr::new(address, port).into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                let text = format!("source address {address}: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
            Ok(()) => return Ok(socket),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("source address {address}: every port from {FIRST_PORT} is in use"),
    ))
}

/// A socket to receive on, or why there is none.
fn open(place: Place) -> Result<Socket, String> {
    let Place { port, is_ipv4 } = place;
    let family = if is_ipv4 { "IPv4" } else { "IPv6" };
    receiving(place).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "BFD cannot receive over {family}: UDP port {port} is in use by another program (find it on the node with `ss -lunp sport = :{port}`); stop it, or set bfd.enabled: false in the BGPPeers of this node"
        ),
        _ => format!("BFD cannot receive over {family} on UDP port {port}: {error}"),
    })
}

fn receiving(Place { port, is_ipv4 }: Place) -> io::Result<Socket> {
    let socket = datagrams(is_ipv4)?;
    if is_ipv4 {
        setsockopt(&socket, Ipv4RecvTtl, &true)?;
    } else {
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
    }
    // The kernel cuts it to net.core.rmem_max.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SocketAddr::new(unspecified(is_ipv4), port).into())?;
    Ok(socket)
}

fn datagrams(is_ipv4: bool) -> io::Result<Socket> {
    let domain = if is_ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(
        domain,
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if !is_ipv4 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

const fn unspecified(is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    }
}

fn sender(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    let address = message.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

fn ttl(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<u8> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
            u8::try_from(ttl).ok()
        }
        _ => None,
    })
}
