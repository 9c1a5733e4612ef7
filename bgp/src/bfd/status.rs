//! What others see of a session.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::{Diagnostic, Path, State};

/// A session at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// The other end.
    pub peer: IpAddr,
    /// Our address, when it is configured.
    pub source: Option<IpAddr>,
    /// One link or routers.
    pub path: Path,
    /// Our state.
    pub state: State,
    /// Why our state was last left.
    pub diagnostic: Diagnostic,
    /// The state that the other end last told us.
    pub remote_state: State,
    /// Why the other end's state was last left.
    pub remote_diagnostic: Diagnostic,
    /// Whether the other end's BFD lives on when its control plane restarts (C bit).
    pub remote_independent: bool,
    /// Our name of the session.
    pub local_discriminator: u32,
    /// The other end's; zero when it is not known.
    pub remote_discriminator: u32,
    /// How often we send; `None` when the other end wants no periodic packets.
    pub transmit_interval: Option<Duration>,
    /// Silence of this length is a loss; `None` when nothing has been heard.
    pub detection_time: Option<Duration>,
    /// How long it has been in this state.
    pub since: Duration,
    /// How often the session came up.
    pub ups: u64,
    /// How often the path was lost; switching off is no loss.
    pub losses: u64,
    /// The last loss.
    pub last_loss: Option<Loss>,
    /// Packets of the session that were taken.
    pub received: u64,
    /// Packets of the session that were sent.
    pub sent: u64,
}

/// The path was lost: an up session went down, and not because either end was switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub diagnostic: Diagnostic,
    /// The other end's BFD ends with its control plane (C bit clear): this may be its restart and not the path.
    pub shares_fate: bool,
    /// How long silence lasts before it is a loss: what was lost may have happened this long ago.
    pub detection_time: Duration,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The session.
    pub peer: IpAddr,
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub diagnostic: Diagnostic,
    /// When the path was lost by it.
    pub loss: Option<Loss>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BFD: {}", self.diagnostic)
    }
}
