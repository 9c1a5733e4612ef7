//! Bidirectional Forwarding Detection as values (RFC 5880, 5881, 5883): no socket, no clock, no task.
//!
//! ```text
//!  apply ───────┐                                             ┌─► Send (octets, to whom, from where)
//!  receive ─────┼─► Sessions ─► Session: state, timers, poll ─┤
//!  timeout ─────┘   selects one    RFC 5880 §6.8              └─► Changed (up, down, why), Forgotten
//! ```
//! A driver that does nothing else reads all that has come before it calls [`Sessions::handle_timeout`]: a session is lost when
//! nothing was heard in time, never because the octets that prove the opposite wait in a socket.
//!
//! Deliberately missing: echo, demand mode of our own (a peer's is obeyed), authentication (a packet that has one is discarded, as
//! RFC 5880 says of a session without).

mod chance;
mod packet;
mod session;
mod sessions;
mod status;
mod timing;

pub use packet::{Diagnostic, Malformed, Packet, State};
pub use sessions::{Arrival, Discard, Output, Sessions};
pub use status::{Loss, SessionStatus, Transition};

use std::net::IpAddr;
use std::time::Duration;

/// What a session is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionConfig {
    /// The other end; names the session.
    pub peer: IpAddr,
    /// Our address; the kernel's choice when there is none.
    pub source: Option<IpAddr>,
    /// Timers and path.
    pub parameters: Parameters,
}

/// Timers and path of a session, as they are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// How often we would like to send: DesiredMinTxInterval once the session is up.
    pub min_tx: Duration,
    /// How often we can bear to receive: RequiredMinRxInterval.
    pub min_rx: Duration,
    /// How many packets may be missing before the session is lost; at least 1.
    pub multiplier: u8,
    /// Through one link, or through routers.
    pub path: Path,
}

impl Default for Parameters {
    /// A loss is detected within 0.9 s over one link.
    fn default() -> Self {
        Self {
            min_tx: Duration::from_millis(300),
            min_rx: Duration::from_millis(300),
            multiplier: 3,
            path: Path::SingleHop,
        }
    }
}

/// What lies between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// One link (RFC 5881): a packet that was forwarded even once is discarded.
    SingleHop,
    /// Routers (RFC 5883).
    Multihop {
        /// A packet that arrives with less is discarded.
        minimum_ttl: u8,
    },
}

impl Path {
    /// The UDP port that packets of such a session are sent to (RFC 5881 §4, RFC 5883 §5).
    pub const fn port(self) -> u16 {
        match self {
            Self::SingleHop => 3784,
            Self::Multihop { .. } => 4784,
        }
    }

    /// The path that packets to this port have taken, with any TTL.
    pub const fn of_port(port: u16) -> Option<Self> {
        match port {
            3784 => Some(Self::SingleHop),
            4784 => Some(Self::Multihop { minimum_ttl: 0 }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
