//! One TCP connection: octets in, octets out, nothing understood.
//!
//! ```text
//!            ┌ Outbox ─ unbounded queue ─► write ─► socket      dropped: flush, half-close, read to the end
//! speaker ───┤                              │                  Event::Written
//! task       └ events ◄─ bounded, shared ◄──┴─ read ◄─ socket   full: reading stops, TCP slows the peer down
//! ```
//! The write queue has no bound of its own because the speaker has: it hands out at most 256 KiB of routes beyond what
//! [`Event::Written`] reported, and a few keepalives.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use margay_bgp::{ConnectionId, Dial, Protection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::socket;

/// How long the last octets (a NOTIFICATION) may take to arrive, and the peer to close.
const LINGER: Duration = Duration::from_secs(1);
/// Octets read at once.
const READ: usize = 32 * 1024;

/// What happened to a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// A dial succeeded, from this address of ours.
    Connected {
        connection: ConnectionId,
        local: IpAddr,
    },
    /// A dial failed.
    ConnectFailed {
        connection: ConnectionId,
        reason: String,
    },
    /// Octets came.
    Received {
        connection: ConnectionId,
        bytes: Box<[u8]>,
    },
    /// Octets left into the socket.
    Written {
        connection: ConnectionId,
        octets: usize,
    },
    /// Nothing more comes and nothing more goes.
    Closed {
        connection: ConnectionId,
        reason: String,
    },
}

/// The speaker's end of a connection. Dropping it closes gracefully.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: mpsc::UnboundedSender<Arc<[u8]>>,
    protection: watch::Sender<Protection>,
    /// Dropped with the outbox: the task learns of the close even while a write is stuck.
    _closing: oneshot::Sender<()>,
    finished: Finished,
}

/// Resolves when a connection is closed on both sides, or given up.
pub(super) type Finished = oneshot::Receiver<Infallible>;

/// The connection's end of an [`Outbox`].
#[derive(Debug)]
pub(super) struct Inbox {
    queue: mpsc::UnboundedReceiver<Arc<[u8]>>,
    protection: watch::Receiver<Protection>,
    closing: oneshot::Receiver<()>,
    /// Dropped with the connection.
    alive: oneshot::Sender<Infallible>,
}

/// Both ends of a connection that is to be protected so.
pub(super) fn outbox(protection: Protection) -> (Outbox, Inbox) {
    let (sender, queue) = mpsc::unbounded_channel();
    let (protection_sender, protection) = watch::channel(protection);
    let (closing_sender, closing) = oneshot::channel();
    let (alive, finished) = oneshot::channel();
    let outbox = Outbox {
        queue: sender,
        protection: protection_sender,
        _closing: closing_sender,
        finished,
    };
    (
        outbox,
        Inbox {
            queue,
            protection,
            closing,
            alive,
        },
    )
}

impl Outbox {
    /// Closes gracefully.
    pub(super) fn close(self) -> Finished {
        self.finished
    }

    /// Changes the protection of the connection while it lives; it does not wait for what is to be written.
    ///
    /// One without a password gets none, and the other way round: the speaker closes it, and its last words are to be understood.
    pub(super) fn protect(&self, protection: &Protection) {
        self.protection.send_if_modified(|old| {
            let alike = old.password.is_some() == protection.password.is_some();
            let changed = alike && old != protection;
            if changed {
                old.clone_from(protection);
            }
            changed
        });
    }

    /// Queues octets. A connection that has ended drops them; its `Closed` is on the way.
    pub(super) fn send(&self, bytes: Arc<[u8]>) {
        let _ = self.queue.send(bytes);
    }
}

/// Dials, then carries octets until either side closes.
///
/// Not before `earlier`, a connection to the same peer that is being closed: a peer that accepts the new one before it has
/// read our NOTIFICATION on the old one takes it for a graceful restart (RFC 4724 section 5).
pub(super) async fn dial(
    mut dial: Dial,
    earlier: Option<Finished>,
    mut inbox: Inbox,
    events: mpsc::Sender<Event>,
) {
    let connection = dial.connection;
    if let Some(earlier) = earlier {
        let _ = earlier.await;
    }
    let connected = loop {
        dial.protection = inbox.protection.borrow_and_update().clone();
        tokio::select! {
            connected = socket::connect(&dial) => break connected,
            // A peer that does not answer the old key may answer the new one.
            Ok(()) = inbox.protection.changed() => {}
            _ = &mut inbox.closing => return,
        }
    };
    match connected.and_then(|stream| Ok((stream.local_addr()?.ip(), stream))) {
        Ok((local, stream)) => {
            let local = local.to_canonical();
            report(&events, Event::Connected { connection, local }).await;
            carry(connection, stream, inbox, events).await;
        }
        Err(error) => {
            report(
                &events,
                Event::ConnectFailed {
                    connection,
                    reason: error.to_string(),
                },
            )
            .await
        }
    }
}

/// Carries octets until either side closes.
pub(super) async fn carry(
    connection: ConnectionId,
    stream: TcpStream,
    inbox: Inbox,
    events: mpsc::Sender<Event>,
) {
    let Inbox {
        mut queue,
        protection,
        closing,
        alive: _alive,
    } = inbox;
    let guard = socket::Guard::of(&stream);
    let (mut reading, mut writing) = stream.into_split();
    let read = read(connection, &mut reading, &events);
    let write = write(connection, &mut writing, &mut queue, &events);
    tokio::pin!(read, write);
    let reason = tokio::select! {
        reason = &mut read => reason,
        error = follow(guard, protection) => error.to_string(),
        error = &mut write => match error {
            // The reset that broke the write may follow a NOTIFICATION that waits to be read.
            Some(error) => {
                let _ = tokio::time::timeout(LINGER, read).await;
                error.to_string()
            }
            // All is written and the outbox is gone: `closing` is due.
            None => {
                let _ = tokio::time::timeout(LINGER, read).await;
                return;
            }
        },
        _ = closing => {
            let _ = tokio::time::timeout(LINGER, async { tokio::join!(read, write) }).await;
            return;
        }
    };
    report(&events, Event::Closed { connection, reason }).await;
}

/// Sets each new protection; ends when one cannot be set, because a connection is never weaker than it was asked for.
async fn follow(
    guard: io::Result<socket::Guard>,
    mut protection: watch::Receiver<Protection>,
) -> io::Error {
    while protection.changed().await.is_ok() {
        let wanted = protection.borrow_and_update().clone();
        let set = match &guard {
            Ok(guard) => guard.set(&wanted),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if let Err(error) = set {
            return error;
        }
    }
    // The outbox is gone: the connection closes.
    std::future::pending().await
}

/// Reads to the end and says what the end was. Waits while the speaker is behind.
async fn read(
    connection: ConnectionId,
    reading: &mut OwnedReadHalf,
    events: &mpsc::Sender<Event>,
) -> String {
    let mut buffer = vec![0; READ];
    loop {
        match reading.read(&mut buffer).await {
            Ok(0) => return "closed by the peer".to_owned(),
            Ok(octets) => {
                report(
                    events,
                    Event::Received {
                        connection,
                        bytes: buffer[..octets].into(),
                    },
                )
                .await
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes until the outbox is dropped, then closes this direction; `Some` is why it could not.
async fn write(
    connection: ConnectionId,
    writing: &mut OwnedWriteHalf,
    queue: &mut mpsc::UnboundedReceiver<Arc<[u8]>>,
    events: &mpsc::Sender<Event>,
) -> Option<io::Error> {
    while let Some(bytes) = queue.recv().await {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match writing.write(rest).await {
                Ok(octets) => {
                    rest = &rest[octets..];
                    report(events, Event::Written { connection, octets }).await;
                }
                Err(error) => return Some(error),
            }
        }
    }
    writing.shutdown().await.err()
}

/// A speaker that is gone needs no report.
async fn report(events: &mpsc::Sender<Event>, event: Event) {
    let _ = events.send(event).await;
}

#[cfg(test)]
mod tests;
