//! The thread's loop: wait, read everything, fire timers, send, tell.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use margay_bgp::bfd::{Arrival, Output, Path, SessionConfig, Sessions};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::watch;

use super::socket::{Datagram, Sockets};
use super::{Session, Snapshot};
use crate::kernel::scheduling;

/// How often counters are looked at, and sockets that could not be opened are tried again.
const TICK: Duration = Duration::from_secs(1);
/// Datagrams that are read before timers are looked at: a flood keeps nobody from sending.
const BATCH: usize = 512;

/// Everything of the thread.
pub(super) struct Runner {
    wanted: watch::Receiver<Vec<SessionConfig>>,
    woken: UnixDatagram,
    snapshots: watch::Sender<Arc<Snapshot>>,
    sessions: Sessions,
    sockets: Sockets,
    snapshot: Snapshot,
}

impl Runner {
    pub(super) fn new(
        wanted: watch::Receiver<Vec<SessionConfig>>,
        woken: UnixDatagram,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        // Keys that the system's chance chose.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            wanted,
            woken,
            snapshots,
            sessions: Sessions::new(seed),
            sockets: Sockets::new(seed),
            snapshot: Snapshot::default(),
        }
    }

    pub(super) fn run(mut self) {
        self.snapshot.scheduling = scheduling::hurry();
        tracing::info!(scheduling = %self.snapshot.scheduling, "BFD thread runs");
        let mut tick = Instant::now();
        loop {
            let Ok(changed) = self.wanted.has_changed() else {
                return self.take_leave();
            };
            let now = Instant::now();
            if changed {
                let wanted = self.wanted.borrow_and_update().clone();
                self.sockets.listen(&wanted);
                self.sessions.apply(wanted, now);
            }
            self.read_all();
            self.sessions.handle_timeout(Instant::now());
            let news = self.carry_out() | changed;
            let due = tick <= now;
            if due {
                tick = now + TICK;
                self.sockets.retry();
            }
            if news || due {
                self.publish(news);
            }
            self.wait(self.sessions.poll_timeout().map_or(tick, |t| t.min(tick)));
        }
    }

    /// Tells the peers that it is no loss.
    fn take_leave(mut self) {
        self.sessions.shutdown(Instant::now());
        self.carry_out();
    }

    fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds: Vec<PollFd<'_>> = self.fds().map(readable).collect();
        // An interrupted wait is a short one.
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None);
        let mut octets = [0; 8];
        while self.woken.recv(&mut octets).is_ok() {}
    }

    fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.woken.as_fd()).chain(self.sockets.listening())
    }

    /// Before any timer: what lies in a socket has been heard.
    fn read_all(&mut self) {
        let Self {
            sockets, sessions, ..
        } = self;
        let mut left = BATCH;
        sockets.read(|datagram: &Datagram<'_>| {
            let path = Path::of_port(datagram.port).unwrap_or(Path::SingleHop);
            let arrival = Arrival {
                source: datagram.source,
                ttl: datagram.ttl,
                path,
                octets: datagram.octets,
            };
            // Discarded ones are counted.
            let _ = sessions.receive(&arrival, Instant::now());
            left -= 1;
            left > 0
        });
    }

    /// Whether a session changed.
    fn carry_out(&mut self) -> bool {
        let mut news = false;
        while let Some(output) = self.sessions.poll_output() {
            match output {
                Output::Send {
                    peer,
                    source,
                    path,
                    octets,
                } => news |= self.sockets.send(peer, source, path.port(), &octets),
                Output::Changed(_) => news = true,
                Output::Forgotten { peer } => self.sockets.forget(peer),
            }
        }
        news
    }

    /// Counters alone wake nobody.
    fn publish(&mut self, news: bool) {
        let statuses = self.sessions.statuses(Instant::now()).into_iter();
        let troubles = self.sockets.troubles();
        let news = news || troubles != self.snapshot.troubles;
        self.snapshot.sessions = statuses
            .map(|status| Session {
                trouble: self.sockets.trouble(status.peer),
                status,
            })
            .collect();
        self.snapshot.troubles = troubles;
        let discarded = self.sessions.discarded().iter();
        self.snapshot.discarded = discarded.map(|(why, n)| (why.to_string(), *n)).collect();
        let snapshot = Arc::new(self.snapshot.clone());
        self.snapshots.send_if_modified(|old| {
            *old = snapshot;
            news
        });
    }
}
