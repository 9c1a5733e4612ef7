//! Numbered pings: UDP datagrams `echo NUMBER` at a steady rate, and who answers them.
//!
//! Each datagram is numbered and each answer counted once, so that "none lost" can name how many were sent, and the
//! longest silence is seen. Both agnhost's `netexec` and [`Echo`] answer. Sockets are made inside the network namespace
//! of any place or pod, by a thread that enters it: a socket stays in the namespace it was made in.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};

mod tally;

pub use tally::Report;
use tally::Tally;

/// How long an answer may take after the last number was sent before it counts as lost.
const GRACE: Duration = Duration::from_secs(1);
/// Some seconds of datagrams.
const BUFFER: usize = 8 << 20;
const READ_TIMEOUT: Duration = Duration::from_millis(20);

/// A stream of numbered pings; [`Pinging::stop`] ends it.
#[derive(Debug)]
pub struct Pinging {
    stopped: Arc<AtomicBool>,
    sending: Arc<AtomicU64>,
    sender: JoinHandle<Sent>,
    receiver: JoinHandle<Tally>,
}

/// What the sender did.
#[derive(Debug)]
struct Sent {
    count: u64,
    refused: u64,
    last: Instant,
}

impl Pinging {
    /// Starts sending from a network namespace, `rate` datagrams a second.
    ///
    /// # Errors
    /// If no socket can be made there.
    pub fn start(net: File, to: SocketAddr, rate: u32) -> Result<Self> {
        let any = if to.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = socket_in(net, SocketAddr::new(any, 0))?;
        let answers = socket.try_clone()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(u64::MAX));
        let begin = Instant::now();
        let sending = Arc::new(AtomicU64::new(0));
        let sender = thread::spawn({
            let (stopped, sent, sending) = (stopped.clone(), sent.clone(), sending.clone());
            move || {
                let result = send(&socket, to, rate, begin, (&stopped, &sending));
                sent.store(result.count, Ordering::Release);
                result
            }
        });
        let receiver = thread::spawn(move || receive(&answers, begin, &sent));
        Ok(Self {
            stopped,
            sending,
            sender,
            receiver,
        })
    }

    /// How many were sent until now.
    pub fn sent(&self) -> u64 {
        self.sending.load(Ordering::Acquire)
    }

    /// Ends the stream, waits a second for answers on their way, and counts.
    ///
    /// # Errors
    /// If a thread has panicked.
    pub fn stop(self) -> Result<Report> {
        self.stopped.store(true, Ordering::Release);
        let sent = self
            .sender
            .join()
            .map_err(|_| anyhow!("the sender has panicked"))?;
        let tally = self
            .receiver
            .join()
            .map_err(|_| anyhow!("the receiver has panicked"))?;
        Ok(tally.report(sent.count, sent.refused, sent.last))
    }
}

fn send(
    socket: &UdpSocket,
    to: SocketAddr,
    rate: u32,
    begin: Instant,
    (stopped, sending): (&AtomicBool, &AtomicU64),
) -> Sent {
    let interval = Duration::from_secs(1) / rate.max(1);
    let mut sent = Sent {
        count: 0,
        refused: 0,
        last: begin,
    };
    while !stopped.load(Ordering::Acquire) {
        // Behind schedule it catches up at once, so that the number sent always tells the time.
        let due = begin + Duration::from_nanos(duration_nanos(interval).saturating_mul(sent.count));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.last = Instant::now();
        let message = format!("echo {:010}", sent.count);
        sent.refused += u64::from(socket.send_to(message.as_bytes(), to).is_err());
        sent.count += 1;
        sending.store(sent.count, Ordering::Release);
    }
    sent
}

fn duration_nanos(interval: Duration) -> u64 {
    u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
}

/// `sent` is the count of the sender once it has ended, and `u64::MAX` before.
fn receive(socket: &UdpSocket, begin: Instant, sent: &AtomicU64) -> Tally {
    let mut tally = Tally::new(begin);
    let mut deadline = None;
    let mut buffer = [0; 256];
    loop {
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            tally.answer(&buffer[..length], Instant::now());
        }
        let count = sent.load(Ordering::Acquire);
        if count == u64::MAX {
            continue;
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + GRACE);
        if tally.received() >= count || Instant::now() >= deadline {
            return tally;
        }
    }
}

/// Answers numbered pings with what they say, until dropped.
#[derive(Debug)]
pub struct Echo {
    stopped: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Listens in a network namespace.
    ///
    /// # Errors
    /// If the address is taken or not there.
    pub fn start(net: File, listen: SocketAddr) -> Result<Self> {
        let socket = socket_in(net, listen)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stopped, answered) = (stopped.clone(), answered.clone());
            move || answer(&socket, &stopped, &answered)
        });
        Ok(Self {
            stopped,
            answered,
            thread: Some(thread),
        })
    }

    /// How many it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

fn answer(socket: &UdpSocket, stopped: &AtomicBool, answered: &AtomicU64) {
    let mut buffer = [0; 2048];
    while !stopped.load(Ordering::Acquire) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer)
            && socket.send_to(&buffer[..length], from).is_ok()
        {
            answered.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Takes what comes and answers nothing, until dropped: who sends to it never has more than one direction of a flow, so that
/// connection tracking takes each datagram for a new one.
#[derive(Debug)]
pub struct Sink {
    stopped: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    latest: Arc<Mutex<Option<SystemTime>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens in a network namespace.
    ///
    /// # Errors
    /// If the address is taken or not there.
    pub fn start(net: File, listen: SocketAddr) -> Result<Self> {
        let socket = socket_in(net, listen)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let latest = Arc::new(Mutex::new(None));
        let thread = thread::spawn({
            let (stopped, received, latest) = (stopped.clone(), received.clone(), latest.clone());
            move || {
                let mut buffer = [0; 2048];
                while !stopped.load(Ordering::Acquire) {
                    if socket.recv_from(&mut buffer).is_ok() {
                        received.fetch_add(1, Ordering::AcqRel);
                        *latest.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(SystemTime::now());
                    }
                }
            }
        });
        Ok(Self {
            stopped,
            received,
            latest,
            thread: Some(thread),
        })
    }

    /// How many datagrams came.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// When the last one came.
    pub fn latest(&self) -> Option<SystemTime> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// A socket of another network namespace, made by a thread that enters it and ends.
fn socket_in(net: File, address: SocketAddr) -> Result<UdpSocket> {
    let make = move || -> io::Result<UdpSocket> {
        setns(&net, CloneFlags::CLONE_NEWNET)?;
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        // A busy machine may let a thread wait longer than the usual buffer lasts: that would count as lost.
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        Ok(socket)
    };
    let made = thread::spawn(make)
        .join()
        .map_err(|_| anyhow!("the thread in the namespace has panicked"))?;
    made.with_context(|| format!("a UDP socket on {address}"))
}
