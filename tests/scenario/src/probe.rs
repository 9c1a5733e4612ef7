//! TCP connections from inside a network namespace, as fast as they go: when does a policy take effect?

use anyhow::{Context, Result, anyhow, bail};
use margay_lab::Lab;
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A SYN that is not answered within this is taken for dropped. Paths in the lab take well under a millisecond.
const ATTEMPT: Duration = Duration::from_millis(20);
/// This many attempts in a row decide.
const IN_A_ROW: usize = 5;
/// Longest wait for either state.
const LIMIT: Duration = Duration::from_secs(10);

/// Connections from one place to one address, repeated until they turn from failing to succeeding or back.
#[derive(Debug)]
pub(crate) struct Probe {
    what: String,
    turned: JoinHandle<Result<Option<Instant>>>,
}

impl Probe {
    /// Starts to connect, and returns once the path is seen to be in the state that it is to turn from: closed if it shall `open`.
    ///
    /// # Errors
    /// When there is no such source, or the path is in the wrong state.
    pub(crate) fn start(lab: &Lab, source: &str, to: SocketAddr, open: bool) -> Result<Self> {
        let what = format!("{source} -> {to}");
        let namespace = lab.netns(source)?;
        let (ready, is_ready) = mpsc::channel();
        let turned = thread::spawn(move || watch(&namespace, to, open, &ready));
        if is_ready.recv_timeout(LIMIT + ATTEMPT).is_err() {
            bail!(
                "{what} was {} all along",
                if open { "open" } else { "closed" }
            );
        }
        Ok(Self { what, turned })
    }

    /// When the path turned.
    ///
    /// # Errors
    /// When it did not.
    pub(crate) fn turned(self) -> Result<Instant> {
        let turned = self
            .turned
            .join()
            .map_err(|_| anyhow!("the probe of {} panicked", self.what))??;
        turned.with_context(|| format!("{} did not turn within {} s", self.what, LIMIT.as_secs()))
    }
}

fn watch(
    namespace: &File,
    to: SocketAddr,
    open: bool,
    ready: &mpsc::Sender<()>,
) -> Result<Option<Instant>> {
    setns(namespace, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
    let connects = || TcpStream::connect_timeout(&to, ATTEMPT).is_ok();
    if first_of_row(|| connects() != open).is_none() {
        return Ok(None);
    }
    // The receiver is gone only when it gave up.
    let _ = ready.send(());
    Ok(first_of_row(|| connects() == open))
}

/// The moment of the first of five attempts in a row that went as wanted.
fn first_of_row(mut attempt: impl FnMut() -> bool) -> Option<Instant> {
    let begin = Instant::now();
    let (mut first, mut row) = (begin, 0);
    while begin.elapsed() < LIMIT {
        let at = Instant::now();
        if !attempt() {
            row = 0;
            continue;
        }
        if row == 0 {
            first = at;
        }
        row += 1;
        if row == IN_A_ROW {
            return Some(first);
        }
    }
    None
}
