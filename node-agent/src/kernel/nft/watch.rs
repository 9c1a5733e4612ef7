//! Notices when somebody else changes our table.

use std::io;

use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, TokioSocket, protocols::NETLINK_NETFILTER};

use super::error::Error;
use super::message::{FAMILY_HEADER, SUBSYSTEM};
use super::read::ours;
use crate::kernel::netlink::datagram::{DATAGRAM, Messages};
use crate::kernel::netlink::message::Attributes;

/// `NFNLGRP_NFTABLES`: every change of every table of this network namespace.
const GROUP: u32 = 7;
/// `NFT_MSG_NEWGEN` (the end of a transaction) and `NFT_MSG_TRACE`: about no table.
const NEWGEN: u16 = SUBSYSTEM << 8 | 15;
const TRACE: u16 = SUBSYSTEM << 8 | 17;

/// Foreign changes of table `inet margay`.
///
/// While this process owns the table there can be none, and nothing is listened for.
pub struct Watch(Option<Listener>);

struct Listener {
    socket: TokioSocket,
    own_port: u32,
    buffer: Vec<u8>,
}

impl Watch {
    /// Nothing can happen.
    pub(super) fn idle() -> Self {
        Self(None)
    }

    /// Listens in the calling thread's network namespace; what the socket with this port writes does not count.
    pub(super) fn listen(own_port: u32) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_ref().add_membership(GROUP)?;
        Ok(Self(Some(Listener {
            socket,
            own_port,
            buffer: Vec::with_capacity(DATAGRAM),
        })))
    }

    /// Returns when somebody else changed our table, or so much happened that nobody knows; never while the table is owned.
    /// Cancel safe.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn damaged(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Some(listener) => listener
                .damaged()
                .await
                .map_err(Error::io("notifications of nf_tables")),
            None => std::future::pending().await,
        }
    }
}

impl Listener {
    async fn damaged(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(DATAGRAM);
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) if is_damage(&self.buffer, self.own_port) => return Ok(()),
                // So much happened that some of it was lost.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Whether one of these notifications is about our table and not from our own socket.
fn is_damage(datagram: &[u8], own_port: u32) -> bool {
    Messages(datagram).any(|(header, payload)| {
        header.kind >> 8 == SUBSYSTEM
            && header.kind != NEWGEN
            && header.kind != TRACE
            && header.port != own_port
            && ours(Attributes::after(payload, FAMILY_HEADER)).is_some()
    })
}
