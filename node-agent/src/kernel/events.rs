//! What happens in the kernel, as it says so: links, addresses, routes and nexthop objects.
//!
//! The kernel does not say everything: with a dead link or a lost address it drops IPv4 routes and nexthop objects in silence. The
//! mirrors know which events mean that, and read again. When more happens than the socket holds, [`Batch::overrun`] says so.

use std::future::poll_fn;
use std::io;

use rtnetlink::sys::{
    AsyncSocket, Socket as RawSocket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use socket2::{SockFilter, SockRef};

use super::error::Error;
use super::netlink::datagram::{DATAGRAM, Messages, receive};
pub use super::netlink::object::{Address, Link, NexthopEntry, RouteEntry, RouteHop};
use super::netlink::object::{RTM_DELNEXTHOP, RTM_NEWNEXTHOP};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link appeared or changed.
    Link(Link),
    /// A link is gone; a pod's, if it has our prefix.
    LinkGone(Link),
    /// An address was added or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route was added or changed.
    Route {
        /// The route as it is now.
        entry: RouteEntry,
        /// Whether it took the place of another with its prefix and metric, whoever owned that.
        replaces: bool,
    },
    /// A route is gone.
    RouteGone(RouteEntry),
    /// A nexthop object was added or changed.
    Nexthop(NexthopEntry),
    /// A nexthop object is gone.
    NexthopGone(NexthopEntry),
}

/// Everything that was waiting to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order in which the kernel told.
    pub events: Vec<Event>,
    /// Some were lost: only a dump tells what is true now.
    pub overrun: bool,
}

/// The stream of events of one network namespace.
pub struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

/// Datagrams that one batch takes at most, so that a storm does not starve the task.
const BATCH: usize = 8192;
/// Receive buffer: some ten thousand notifications.
const BUFFER: usize = 32 << 20;
/// Multicast groups: `RTNLGRP_{LINK,IPV4_IFADDR,IPV4_ROUTE,IPV6_IFADDR,IPV6_ROUTE,NEXTHOP}`.
const GROUPS: [u32; 6] = [1, 5, 7, 9, 11, 32];

impl Events {
    /// Listens in the calling thread's network namespace, except to what the sockets with these netlink ports cause themselves.
    ///
    /// To be done before the dumps whose results the events continue.
    ///
    /// # Errors
    /// The socket's.
    pub fn subscribe(except: &[u32]) -> Result<Self, Error> {
        Self::try_subscribe(except).map_err(|e| Error::io("rtnetlink events", e))
    }

    fn try_subscribe(except: &[u32]) -> io::Result<Self> {
        let mut events = Self {
            socket: TokioSocket::new(NETLINK_ROUTE)?,
            buffer: Vec::new(),
        };
        let socket = events.socket.socket_mut();
        SockRef::from(&*socket).attach_filter(&not_from(except))?;
        // Beyond rmem_max for those who may; less makes overruns more likely, which cost a dump.
        if nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBufForce, &BUFFER)
            .is_err()
        {
            socket.set_rx_buf_sz(i32::try_from(BUFFER).unwrap_or(i32::MAX))?;
        }
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(events)
    }

    /// Waits until something happened and returns all of it. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The socket's; an overrun is none.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            let first = poll_fn(|context| {
                self.buffer.clear();
                self.buffer.reserve(DATAGRAM);
                self.socket.poll_recv(context, &mut self.buffer)
            })
            .await;
            let mut batch = Batch::default();
            batch
                .take(first, &self.buffer)
                .map_err(|e| Error::io("rtnetlink events", e))?;
            drain(self.socket.socket_ref(), &mut self.buffer, &mut batch)
                .map_err(|e| Error::io("rtnetlink events", e))?;
            if batch != Batch::default() {
                return Ok(batch);
            }
        }
    }
}

impl Batch {
    /// Adds what one receive brought.
    fn take(&mut self, received: io::Result<()>, buffer: &[u8]) -> io::Result<()> {
        match received {
            Ok(()) => self.events.extend(
                Messages(buffer)
                    .filter_map(|(header, payload)| decode(header.kind, header.flags, payload)),
            ),
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => self.overrun = true,
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// Reads on until the socket is empty or the batch is full; what is left makes the next receive return at once.
fn drain(socket: &RawSocket, buffer: &mut Vec<u8>, batch: &mut Batch) -> io::Result<()> {
    for _ in 0..BATCH {
        match receive(socket, buffer, 0) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            received => batch.take(received, buffer)?,
        }
    }
    Ok(())
}

fn decode(kind: u16, flags: u16, payload: &[u8]) -> Option<Event> {
    let replaces = i32::from(flags) & libc::NLM_F_REPLACE != 0;
    Some(match kind {
        libc::RTM_NEWLINK => Event::Link(Link::decode(payload)?),
        libc::RTM_DELLINK => Event::LinkGone(Link::decode(payload)?),
        libc::RTM_NEWADDR => Event::Address(Address::decode(payload)?),
        libc::RTM_DELADDR => Event::AddressGone(Address::decode(payload)?),
        libc::RTM_NEWROUTE => Event::Route {
            entry: RouteEntry::decode(payload)?,
            replaces,
        },
        libc::RTM_DELROUTE => Event::RouteGone(RouteEntry::decode(payload)?),
        RTM_NEWNEXTHOP => Event::Nexthop(NexthopEntry::decode(payload)?),
        RTM_DELNEXTHOP => Event::NexthopGone(NexthopEntry::decode(payload)?),
        _ => return None,
    })
}

/// A classic BPF program that drops notifications caused by these netlink ports.
///
/// Without it, writing a full table would fill the buffer with the echo of the agent's own writes.
fn not_from(ports: &[u32]) -> Vec<SockFilter> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Offset of `nlmsg_pid` in `struct nlmsghdr`.
    const PORT: u32 = 12;
    let step = |code, jt, k| SockFilter::new(code, jt, 0, k);
    let mut program = vec![step(LOAD_WORD, 0, PORT)];
    // More than a few own sockets do not exist; the jumps are 8 bits wide.
    let ports = &ports[..ports.len().min(16)];
    for (n, port) in ports.iter().enumerate() {
        // BPF loads in network order what netlink writes in host order.
        let over = u8::try_from(ports.len() - n).unwrap_or(u8::MAX);
        program.push(step(JUMP_EQUAL, over, port.to_be()));
    }
    program.push(step(RETURN, 0, u32::MAX));
    program.push(step(RETURN, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testnet::{ip, isolated};

    #[test]
    fn what_others_do_is_told_in_order() {
        isolated(async || {
            let mut events = Events::subscribe(&[]).unwrap();
            ip("link add up0 type veth peer name up1");
            ip("link set up0 up");
            ip("link set up1 up");
            ip("address add 192.0.2.1/24 dev up0");
            ip("route add 198.51.100.0/24 via 192.0.2.9");
            ip("route del 198.51.100.0/24");
            ip("link del up0");
            let mut all = Vec::new();
            while !all
                .iter()
                .any(|e| matches!(e, Event::LinkGone(l) if l.name == "up0"))
            {
                all.extend(events.next().await.unwrap().events);
            }
            let position = |found: &dyn Fn(&Event) -> bool| all.iter().position(found).unwrap();
            let prefix = "198.51.100.0/24".parse().unwrap();
            let link = position(&|e| matches!(e, Event::Link(l) if l.name == "up0" && l.up));
            let address =
                position(&|e| matches!(e, Event::Address(a) if a.ip.to_string() == "192.0.2.1"));
            let route =
                position(&|e| matches!(e, Event::Route { entry, .. } if entry.prefix == prefix));
            let gone =
                position(&|e| matches!(e, Event::RouteGone(entry) if entry.prefix == prefix));
            assert!(link < address && address < route && route < gone);
        });
    }

    #[test]
    fn item_124_lost_events_are_an_overrun_and_no_error() {
        isolated(async || {
            let mut events = Events::subscribe(&[]).unwrap();
            SockRef::from(events.socket.socket_ref())
                .set_recv_buffer_size(2304)
                .unwrap();
            for n in 0..64 {
                ip(&format!("route add unreachable 10.0.0.{n}/32"));
            }
            assert!(events.next().await.unwrap().overrun);
        });
    }
}
