//! BFD in a thread of its own, around [`margay_bgp::bfd::Sessions`], which decides everything.
//!
//! ```text
//!  speaker ──watch wanted sessions + wake──► thread "bfd": read all, timers, send ──watch Snapshot──► speaker, report, ctl
//!                                            UDP 3784, 4784 (in), one socket a session (out)
//! ```
//! - The thread shares nothing with the agent's runtime: no RIB, netlink or API server can keep it waiting, and it goes ahead of every
//!   ordinary thread of the machine where the kernel allows that.
//! - A loss is never missed: snapshots coalesce, but each has the number of losses of each session.
//! - A planned end is told to the peers as AdminDown, which ends no BGP session (RFC 5882 section 3.2).

mod socket;
mod thread;

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use margay_bgp::bfd::{SessionConfig, SessionStatus};
use tokio::sync::watch;

pub use crate::kernel::scheduling::Scheduling;

/// All sessions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of the peers' addresses.
    pub sessions: Vec<Session>,
    /// How the kernel treats the thread.
    pub scheduling: Scheduling,
    /// Why packets cannot be received, with the remedy.
    pub troubles: Vec<String>,
    /// Packets that came and were not taken, and why.
    pub discarded: Vec<(String, u64)>,
}

/// A session, and why its packets do not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What the session says.
    pub status: SessionStatus,
    /// What the kernel said when a packet was last sent; `None` when it went.
    pub trouble: Option<String>,
}

/// The thread; dropped, it takes leave of the peers and ends.
#[derive(Debug)]
pub(crate) struct Thread {
    // Dropped before the wake-up: that it is gone is the sign to end.
    wanted: Option<watch::Sender<Vec<SessionConfig>>>,
    wake: UnixDatagram,
    handle: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    /// Starts in the network namespace of the caller.
    ///
    /// # Errors
    /// When there can be no thread or no socket to wake it by.
    pub(crate) fn start(snapshots: watch::Sender<Arc<Snapshot>>) -> std::io::Result<Self> {
        let (wanted, follow) = watch::channel(Vec::new());
        let (wake, woken) = UnixDatagram::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let runner = thread::Runner::new(follow, woken, snapshots);
        let handle = std::thread::Builder::new()
            .name("bfd".into())
            .spawn(|| runner.run())?;
        Ok(Self {
            wanted: Some(wanted),
            wake,
            handle: Some(handle),
        })
    }

    /// Declares all sessions.
    pub(crate) fn want(&self, sessions: Vec<SessionConfig>) {
        let Some(wanted) = &self.wanted else { return };
        let changed = wanted.send_if_modified(|old| {
            let changed = *old != sessions;
            *old = sessions;
            changed
        });
        if changed {
            self.rouse();
        }
    }

    /// A full socket means that it is going to wake up in any case.
    fn rouse(&self) {
        let _ = self.wake.send(&[0]);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.wanted = None;
        self.rouse();
        if let Some(handle) = self.handle.take() {
            // A panic has been printed, and the agent ends by it.
            let _ = handle.join();
        }
    }
}
