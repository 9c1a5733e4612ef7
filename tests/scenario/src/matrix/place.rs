//! The sockets of a place: a pod, a node or another host of the lab. They are made by a thread that enters its network
//! namespace, and stay there.
//!
//! What arrives is seen by raw sockets, which get a copy of every packet that was delivered to the place, whether anything
//! serves its port or not. Listeners answer TCP as any server's kernel would; UDP and SCTP are answered by us.

use super::packet::{self, Kind, Packet, Protocol};
use anyhow::{Context, Result, anyhow};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsRawFd,
    thread,
};

/// Enough for all packets of a pass that are for one place.
const BUFFER: usize = 4 << 20;

/// Somewhere that sends and receives.
#[derive(Debug)]
pub(crate) struct Place {
    name: String,
    addresses: Vec<IpAddr>,
    namespace: File,
    raw: Vec<Raw>,
    /// Kept open; the kernel answers for them.
    _listeners: Vec<TcpListener>,
    /// Never read: the raw sockets see what arrives.
    servers: Vec<UdpSocket>,
    ports: Vec<u16>,
}

/// All packets of one protocol to one address.
#[derive(Debug)]
struct Raw {
    address: IpAddr,
    protocol: Protocol,
    socket: Socket,
}

/// A packet that came to a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) source: IpAddr,
    /// Which of the place's addresses it came to.
    pub(super) address: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) packet: Packet,
}

impl Place {
    /// Serves TCP, UDP and SCTP on these ports of these addresses.
    ///
    /// # Errors
    /// If a port is taken or an address is not there.
    pub(crate) fn open(
        name: &str,
        namespace: File,
        addresses: &[IpAddr],
        ports: &[u16],
    ) -> Result<Self> {
        let (listen, bind): (Vec<_>, Vec<_>) = addresses
            .iter()
            .flat_map(|address| ports.iter().map(|port| SocketAddr::new(*address, *port)))
            .map(|at| (at, at))
            .unzip();
        let own = addresses.to_vec();
        let (raw, listeners, servers) = inside(&namespace, move || {
            let raw = own
                .iter()
                .flat_map(|address| Protocol::ALL.map(|protocol| Raw::open(*address, protocol)));
            let raw: Vec<Raw> = raw.collect::<io::Result<_>>()?;
            let listeners: Vec<_> = listen
                .iter()
                .map(TcpListener::bind)
                .collect::<io::Result<_>>()?;
            let servers: Vec<_> = bind
                .iter()
                .map(UdpSocket::bind)
                .collect::<io::Result<_>>()?;
            Ok((raw, listeners, servers))
        })
        .with_context(|| format!("serving at {name} on {addresses:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            namespace,
            raw,
            _listeners: listeners,
            servers,
            ports: ports.to_vec(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its network namespace.
    pub(crate) fn namespace(&self) -> &File {
        &self.namespace
    }

    /// Its address of a family.
    pub(crate) fn address(&self, v4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|a| a.is_ipv4() == v4)
    }

    /// Whether something here answers on the port.
    pub(super) fn serves(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// A UDP socket for the requests of one pass, with a port that no flow has used yet.
    pub(super) fn client(&self, from: SocketAddr) -> Result<UdpSocket> {
        inside(&self.namespace, move || UdpSocket::bind(from))
            .with_context(|| format!("a UDP socket of {} on {from}", self.name))
    }

    /// Sends a transport segment from one of its addresses.
    pub(super) fn send(
        &self,
        from: IpAddr,
        protocol: Protocol,
        to: IpAddr,
        segment: &[u8],
    ) -> Result<()> {
        let raw = self
            .raw
            .iter()
            .find(|raw| raw.address == from && raw.protocol == protocol);
        let raw = raw.with_context(|| format!("{} has no address {from}", self.name))?;
        raw.socket
            .send_to(segment, &SockAddr::from(SocketAddr::new(to, 0)))
            .with_context(|| format!("sending {} from {} to {to}", protocol.name(), self.name))?;
        Ok(())
    }

    /// Everything that has arrived since the last look. Requests are answered on the way.
    pub(super) fn receive(&self, mut see: impl FnMut(Arrival)) -> Result<()> {
        for raw in &self.raw {
            while let Some(arrival) = raw.next().with_context(|| self.name.clone())? {
                self.answer(raw, &arrival)?;
                see(arrival);
            }
        }
        Ok(())
    }

    fn answer(&self, raw: &Raw, arrival: &Arrival) -> Result<()> {
        let Kind::Request(number) = arrival.packet.kind else {
            return Ok(());
        };
        let port = arrival.packet.destination_port;
        if !self.serves(port) {
            return Ok(());
        }
        let at = SocketAddr::new(arrival.address, port);
        match arrival.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Sctp => {
                let answer = packet::init_ack(&arrival.packet, number);
                self.send(raw.address, Protocol::Sctp, arrival.source, &answer)
            }
            Protocol::Udp => {
                let server = self
                    .servers
                    .iter()
                    .find(|server| server.local_addr().is_ok_and(|local| local == at))
                    .context("a served port has a socket")?;
                let to = SocketAddr::new(arrival.source, arrival.packet.source_port);
                server.send_to(&packet::reply(number), to)?;
                Ok(())
            }
        }
    }
}

impl Raw {
    fn open(address: IpAddr, protocol: Protocol) -> io::Result<Self> {
        let domain = if address.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = Socket::new(domain, Type::RAW, Some(i32::from(protocol.number()).into()))?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(SocketAddr::new(address, 0)))?;
        Ok(Self {
            address,
            protocol,
            socket,
        })
    }

    /// The next packet of ours; none when there is no packet at all.
    fn next(&self) -> Result<Option<Arrival>> {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) =
                match recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut buffer) {
                    Ok(received) => received,
                    Err(Errno::EAGAIN) => return Ok(None),
                    Err(error) => return Err(error).context("receiving"),
                };
            // IPv4 raw sockets show the IP header, IPv6 ones do not.
            let header = match self.address {
                IpAddr::V4(_) => usize::from(buffer[0] & 0x0f) * 4,
                IpAddr::V6(_) => 0,
            };
            let segment = buffer.get(header..length).unwrap_or_default();
            let source = from.as_ref().and_then(address_of);
            if let (Some(source), Some(packet)) = (source, packet::parse(self.protocol, segment)) {
                return Ok(Some(Arrival {
                    source,
                    address: self.address,
                    protocol: self.protocol,
                    packet,
                }));
            }
        }
    }
}

fn address_of(from: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
    v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())))
}

/// Does something in a network namespace, in a thread of its own.
pub(crate) fn inside<T: Send + 'static>(
    namespace: &File,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let namespace = namespace.try_clone()?;
    let entered = thread::spawn(move || -> io::Result<T> {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    });
    let done = entered
        .join()
        .map_err(|_| anyhow!("the thread in the namespace panicked"))?;
    Ok(done?)
}
