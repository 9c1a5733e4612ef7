//! One nfnetlink socket: transactions with an error for each message, and dumps that are whole.
//!
//! The kernel does all the work, and queues all answers, inside `sendmsg`. So after a send everything there is to read is there,
//! and nothing here waits. A socket belongs for life to the network namespace of the thread that opened it, and the
//! table belongs to the socket: they go together.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::error::{Refusal, Subject};
use super::key;
use super::message::{
    Attributes as Writer, DUMP, FAMILY_HEADER, Finished, HEADER, INET, Kind, request, request_of,
};
use crate::kernel::netlink::datagram::{
    self, DATAGRAM, Header, Messages, NLM_F_ACK_TLVS, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
};
use crate::kernel::netlink::message::{Attributes, text, u32_at};

const NLMSGERR_ATTR_OFFS: u16 = 2;
/// Behind the number and the header of the refused message come the attributes of an error (`NETLINK_CAP_ACK` is set).
const ERROR_HEADER: usize = 4 + HEADER;

/// How often a dump is repeated when a change interrupts it; changes of foreign tables do, too.
const DUMP_ATTEMPTS: usize = 20;
/// Room that the kernel counts besides the message, in a send buffer.
const SEND_OVERHEAD: usize = 4096;

/// Request socket of one network namespace.
#[derive(Debug)]
pub(super) struct Socket {
    inner: RawSocket,
    port: u32,
    sequence: u32,
    /// Size of the send buffer as far as we have set it: a transaction must fit, it is one send.
    send_buffer: usize,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut inner = RawSocket::new(NETLINK_NETFILTER)?;
        let port = inner.bind_auto()?.port_number();
        inner.connect(&SocketAddr::new(0, 0))?;
        inner.set_cap_ack(true)?;
        inner.set_ext_ack(true)?;
        Ok(Self {
            inner,
            port,
            sequence: 1,
            send_buffer: 0,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// The netlink port: the owner's mark on a table, and by it our own writes are told from others.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// The first sequence number for a transaction.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Applies a transaction.
    ///
    /// The inner result are the messages that were refused, in their order: then nothing was applied.
    pub(super) fn transact(
        &mut self,
        transaction: &Finished,
    ) -> io::Result<Result<(), Vec<Refusal>>> {
        self.sequence = transaction.next_sequence();
        self.reserve(transaction.bytes().len())?;
        self.send(transaction.bytes())?;
        let mut refusals = Vec::new();
        let acknowledged = self.answers(transaction.acknowledged, |sequence, failure| {
            refusals.extend(failure.refusal(sequence, transaction));
        })?;
        match (refusals.is_empty(), acknowledged) {
            (false, _) => Ok(Err(refusals)),
            (true, true) => Ok(Ok(())),
            (true, false) => Err(unanswered()),
        }
    }

    /// Applies a transaction of which only the bytes are left; an error when the kernel refuses it.
    pub(super) fn replay(&mut self, bytes: &[u8], acknowledged: u32) -> io::Result<()> {
        self.sequence = acknowledged.wrapping_add(2);
        self.reserve(bytes.len())?;
        self.send(bytes)?;
        let mut first = None;
        let applied = self.answers(acknowledged, |_, failure| {
            first.get_or_insert(failure);
        })?;
        match first {
            Some(failure) => Err(failure.into()),
            None if applied => Ok(()),
            None => Err(unanswered()),
        }
    }

    /// Reads all answers to a transaction: whether its last message was acknowledged.
    fn answers(&mut self, last: u32, mut refused: impl FnMut(u32, Failure)) -> io::Result<bool> {
        let mut acknowledged = false;
        while self.receive(libc::MSG_DONTWAIT)? {
            for (header, payload) in Messages(&self.buffer) {
                if header.kind != NLMSG_ERROR {
                    continue;
                }
                match Failure::read(header, payload) {
                    None => acknowledged |= header.sequence == last,
                    Some(failure) => refused(header.sequence, failure),
                }
            }
        }
        Ok(acknowledged)
    }

    /// One object; none when it does not exist.
    pub(super) fn get(
        &mut self,
        kind: Kind,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> io::Result<Option<Vec<u8>>> {
        let sequence = self.next_sequence();
        self.send(&request(kind, 0, sequence, body))?;
        while self.receive(libc::MSG_DONTWAIT)? {
            for (header, payload) in
                Messages(&self.buffer).filter(|(header, _)| header.sequence == sequence)
            {
                if header.kind != NLMSG_ERROR {
                    return Ok(Some(
                        payload.get(FAMILY_HEADER..).unwrap_or_default().to_vec(),
                    ));
                }
                if let Some(failure) = Failure::read(header, payload) {
                    return if failure.errno == Errno::ENOENT {
                        Ok(None)
                    } else {
                        Err(failure.into())
                    };
                }
            }
        }
        Err(io::Error::other("the kernel did not answer"))
    }

    /// Everything that the kernel lists for a request, as one consistent picture, as far as `decode` takes it.
    /// None when the object that it asks about does not exist.
    pub(super) fn dump<T>(
        &mut self,
        kind: Kind,
        body: impl Fn(&mut Writer<'_>),
        decode: impl Fn(Attributes<'_>) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        self.dump_of(INET, kind, body, decode)
    }

    /// The same for another family than our table's.
    pub(super) fn dump_of<T>(
        &mut self,
        family: u8,
        kind: Kind,
        body: impl Fn(&mut Writer<'_>),
        decode: impl Fn(Attributes<'_>) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        for _ in 0..DUMP_ATTEMPTS {
            match self.try_dump((family, kind), &body, &decode)? {
                Dump::Whole(found) => return Ok(Some(found)),
                Dump::Missing => return Ok(None),
                Dump::Interrupted => {}
            }
        }
        Err(io::Error::other(
            "the rules changed during each of many dumps",
        ))
    }

    fn try_dump<T>(
        &mut self,
        (family, kind): (u8, Kind),
        body: &impl Fn(&mut Writer<'_>),
        decode: &impl Fn(Attributes<'_>) -> Option<T>,
    ) -> io::Result<Dump<T>> {
        let sequence = self.next_sequence();
        self.send(&request_of(family, kind, DUMP, sequence, body))?;
        let (mut found, mut interrupted) = (Vec::new(), false);
        loop {
            // The rest of a dump is made when the socket has room for it, still inside our system calls.
            if !self.receive(libc::MSG_DONTWAIT)? {
                return Err(io::Error::other("a dump ended early"));
            }
            for (header, payload) in
                Messages(&self.buffer).filter(|(header, _)| header.sequence == sequence)
            {
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match Failure::read(header, payload) {
                            None if interrupted => Ok(Dump::Interrupted),
                            None => Ok(Dump::Whole(found)),
                            Some(failure) => match failure.errno {
                                Errno::ENOENT => Ok(Dump::Missing),
                                Errno::EINTR | Errno::EAGAIN => Ok(Dump::Interrupted),
                                _ => Err(failure.into()),
                            },
                        };
                    }
                    _ => found.extend(decode(Attributes::after(payload, FAMILY_HEADER))),
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    fn reserve(&mut self, length: usize) -> io::Result<()> {
        let needed = length + SEND_OVERHEAD;
        if needed > self.send_buffer.max(DATAGRAM) {
            let size = needed.next_power_of_two();
            setsockopt(&self.inner, sockopt::SndBufForce, &size)?;
            self.send_buffer = size;
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            return match self.inner.send(bytes, 0) {
                Ok(sent) if sent == bytes.len() => Ok(()),
                Ok(_) => Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }

    /// Reads one datagram; false when there is none.
    ///
    /// Answers that did not fit (`ENOBUFS`) are lost, those before them are not: the caller misses what it waits for, or has
    /// enough errors as it is.
    fn receive(&mut self, flags: libc::c_int) -> io::Result<bool> {
        loop {
            match datagram::receive(&self.inner, &mut self.buffer, flags) {
                Ok(()) => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn unanswered() -> io::Error {
    io::Error::other("the kernel did not say what became of a transaction")
}

enum Dump<T> {
    Whole(Vec<T>),
    /// What was asked about does not exist.
    Missing,
    Interrupted,
}

/// What an `NLMSG_ERROR` or `NLMSG_DONE` says.
struct Failure {
    errno: Errno,
    reason: Option<String>,
    /// Where in the message the attribute is that the kernel dislikes.
    offset: Option<usize>,
}

impl Failure {
    /// None for an acknowledgement.
    fn read(header: Header, payload: &[u8]) -> Option<Self> {
        let code = u32_at(payload, 0).unwrap_or_default().cast_signed();
        if code >= 0 {
            return None;
        }
        let attributes = match (header.flags & NLM_F_ACK_TLVS, header.kind) {
            (0, _) => Attributes(&[]),
            (_, NLMSG_DONE) => Attributes::after(payload, 4),
            _ => Attributes::after(payload, ERROR_HEADER),
        };
        let offset = attributes
            .find(NLMSGERR_ATTR_OFFS)
            .and_then(|value| u32_at(value, 0));
        Some(Self {
            errno: Errno::from_raw(-code),
            reason: attributes.find(NLMSGERR_ATTR_MSG).map(text),
            offset: offset.map(|offset| offset as usize),
        })
    }

    /// None when it is about no message of this transaction.
    fn refusal(self, sequence: u32, transaction: &Finished) -> Option<Refusal> {
        let (subject, at) = transaction.subject(sequence, self.offset.unwrap_or(0))?;
        let subject = match (subject, self.offset) {
            (
                Subject::Element {
                    set,
                    element: Some(example),
                },
                offset,
            ) => {
                // What the kernel points at is one element of the list, as we have sent it.
                let pointed =
                    offset
                        .and_then(|_| Attributes(at).next())
                        .and_then(|(_, element)| {
                            let value = Attributes(Attributes(element).find(1)?).find(1)?;
                            key::read(example.key_type(), value)
                        });
                Subject::Element {
                    set: set.clone(),
                    element: pointed,
                }
            }
            (subject, _) => subject.clone(),
        };
        Some(Refusal {
            subject,
            errno: self.errno,
            reason: self.reason,
        })
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure.reason {
            Some(reason) => Self::other(format!("{} ({reason})", failure.errno.desc())),
            None => Self::from(failure.errno),
        }
    }
}
