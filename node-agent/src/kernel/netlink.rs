//! One rtnetlink socket: batches of requests with an answer for each, and dumps that are whole.
//!
//! The `rtnetlink` crate brings the socket. Its asynchronous connection does not serve here: the answer of one message of a batch must be
//! told from another's, nexthop objects are missing, the kernel's own words and an interrupted dump (`NLM_F_DUMP_INTR`) are not looked
//! at, and the pod's half of a link is made on a thread that lives for a millisecond. The kernel answers inside `sendmsg`, so
//! nothing here waits for anybody.
//!
//! A socket belongs for life to the network namespace of the thread that opened it.

pub(crate) mod datagram;
pub(crate) mod message;
pub(crate) mod object;

use std::io;

use nix::errno::Errno;
use rtnetlink::sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_ROUTE};

use self::datagram::{
    DATAGRAM, Messages, NLM_F_ACK_TLVS, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
    NLMSGERR_ATTR_MSG, receive,
};
use self::message::{Attributes, HEADER, Message, text, u32_at};
use super::error::Error;

/// How many requests one send carries: their errors must fit into a receive buffer of the default size.
const BATCH: usize = 128;
/// How often a dump that a change interrupted is repeated.
const DUMP_ATTEMPTS: usize = 10;

const NLM_F_CAPPED: u16 = 0x100;

/// A refusal that does not yet know what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    pub(crate) reason: Option<String>,
}

impl Refusal {
    pub(crate) fn of(self, object: impl Into<String>) -> Error {
        Error::Refused {
            object: object.into(),
            errno: self.errno,
            reason: self.reason,
        }
    }
}

/// Request socket of one network namespace.
pub(crate) struct Socket {
    inner: RawSocket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, Error> {
        Self::open_on(NETLINK_ROUTE)
    }

    /// The same on another netlink protocol, whose messages have a fixed struct of their own.
    pub(crate) fn open_on(protocol: isize) -> Result<Self, Error> {
        Self::try_open(protocol).map_err(|e| Error::io("netlink socket", e))
    }

    fn try_open(protocol: isize) -> io::Result<Self> {
        let mut inner = RawSocket::new(protocol)?;
        let address = inner.bind_auto()?;
        inner.connect(&SocketAddr::new(0, 0))?;
        inner.set_cap_ack(true)?;
        inner.set_ext_ack(true)?;
        // Filters of dumps are only looked at under strict checking.
        inner.set_netlink_get_strict_chk(true)?;
        Ok(Self {
            inner,
            port: address.port_number(),
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// The netlink port, by which notifications of our own writes can be told from others.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }

    /// One request, acknowledged.
    pub(crate) fn request(&mut self, object: &str, message: Message) -> Result<(), Error> {
        match self
            .batch(std::slice::from_ref(&message))
            .map_err(|e| Error::io(object, e))?
            .pop()
        {
            Some(Some(refusal)) => Err(refusal.of(object)),
            _ => Ok(()),
        }
    }

    /// Sends all requests in one go (128 at most: see [`batches`]) and returns each one's refusal.
    ///
    /// The kernel works through them in order and does not stop at a refused one.
    pub(crate) fn batch(&mut self, messages: &[Message]) -> io::Result<Vec<Option<Refusal>>> {
        let mut refusals = Vec::with_capacity(messages.len());
        for chunk in messages.chunks(BATCH) {
            self.send_chunk(chunk, &mut refusals)?;
        }
        Ok(refusals)
    }

    fn send_chunk(
        &mut self,
        chunk: &[Message],
        refusals: &mut Vec<Option<Refusal>>,
    ) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let start = refusals.len();
        refusals.resize(start + chunk.len(), None);
        let mut bytes = Vec::with_capacity(chunk.len() * 96);
        for (n, message) in chunk.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            // Errors always come; only the last message needs to say that it went well.
            let ack = if n + 1 == chunk.len() {
                libc::NLM_F_ACK as u16
            } else {
                0
            };
            message.finish(ack, self.sequence, &mut bytes);
        }
        self.send(&bytes)?;
        let last = chunk.len() - 1;
        loop {
            let mut done = false;
            self.receive()?;
            for (header, payload) in Messages(&self.buffer) {
                let n = header.sequence.wrapping_sub(first) as usize;
                if header.kind != NLMSG_ERROR || n > last {
                    continue;
                }
                refusals[start + n] = refusal(header.flags, payload);
                done |= n == last;
            }
            if done {
                return Ok(());
            }
        }
    }

    /// All objects that the kernel lists for the request, as one consistent picture.
    pub(crate) fn dump<T>(
        &mut self,
        object: &str,
        request: &Message,
        decode: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            match self.collect(object, request, libc::NLM_F_DUMP, &decode) {
                Ok((found, false)) => return Ok(found),
                Ok((_, true)) => {}
                // A routing table is made with its first route: before, it has none.
                Err(e) if e.errno() == Some(Errno::ENOENT) => return Ok(Vec::new()),
                Err(e) => return Err(e),
            }
        }
        Err(Error::io(
            object,
            io::Error::other("changed during each of ten dumps"),
        ))
    }

    /// One object, or `None` when there is none (`ENODEV`, `ESRCH`, `ENOENT`).
    pub(crate) fn get<T>(
        &mut self,
        object: &str,
        request: &Message,
        decode: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.collect(object, request, libc::NLM_F_ACK, &decode) {
            Ok((found, _)) => Ok(found.into_iter().next()),
            Err(e)
                if matches!(
                    e.errno(),
                    Some(Errno::ENODEV | Errno::ESRCH | Errno::ENOENT)
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// What the kernel answers, and whether a change interrupted it.
    fn collect<T>(
        &mut self,
        object: &str,
        request: &Message,
        flag: i32,
        decode: &impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<(Vec<T>, bool), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        request.finish(flag as u16, self.sequence, &mut bytes);
        self.send(&bytes).map_err(|e| Error::io(object, e))?;
        let (mut found, mut interrupted) = (Vec::new(), false);
        loop {
            self.receive().map_err(|e| Error::io(object, e))?;
            for (header, payload) in Messages(&self.buffer) {
                if header.sequence != self.sequence {
                    continue;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        // The end of a dump carries a code too, and never the request.
                        return match refusal(header.flags | NLM_F_CAPPED, payload) {
                            Some(refusal) => Err(refusal.of(object)),
                            None => Ok((found, interrupted)),
                        };
                    }
                    kind => found.extend(decode(kind, payload)),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.inner.send(bytes, 0)?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::WriteZero))
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        receive(&self.inner, &mut self.buffer, 0)
    }
}

/// `None` is an acknowledgement (or the clean end of a dump).
fn refusal(flags: u16, payload: &[u8]) -> Option<Refusal> {
    let code = u32_at(payload, 0).unwrap_or_default().cast_signed();
    if code >= 0 {
        return None;
    }
    // struct nlmsgerr { int error; struct nlmsghdr msg; }: behind it the request, unless capped, then the attributes.
    let echoed = if flags & NLM_F_CAPPED == 0 {
        u32_at(payload, 4).unwrap_or_default() as usize
    } else {
        HEADER
    };
    let attributes = Attributes::after(payload, 4 + echoed.next_multiple_of(4));
    let reason = (flags & NLM_F_ACK_TLVS != 0)
        .then(|| attributes.find(NLMSGERR_ATTR_MSG))
        .flatten()
        .map(text);
    Some(Refusal {
        errno: Errno::from_raw(-code),
        reason,
    })
}
