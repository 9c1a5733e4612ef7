//! The Control packet (RFC 5880 §4.1), and the checks of §6.8.6 that need no session.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// State of a session (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum State {
    /// Switched off by an operator; says nothing about the path.
    AdminDown,
    /// The other end is not heard.
    #[default]
    Down,
    /// The other end is heard, and does not say yet that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

/// Why a session left a state (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(pub u8);

/// A Control packet without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session last left its state.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// P: an answer is asked for.
    pub poll: bool,
    /// F: the answer to P.
    pub is_final: bool,
    /// C: the sender's BFD lives on when its control plane restarts.
    pub control_plane_independent: bool,
    /// D: once both are up the sender wants no periodic packets.
    pub demand: bool,
    /// Of the sender's packets this many may be missing.
    pub multiplier: u8,
    /// The sender's name of the session; not zero.
    pub my_discriminator: u32,
    /// Our name of it, zero while the sender does not know it.
    pub your_discriminator: u32,
    /// How often the sender would like to send.
    pub desired_min_tx: Duration,
    /// How often the sender can receive; zero for never.
    pub required_min_rx: Duration,
    /// How often the sender reflects echoes; zero for never.
    pub required_min_echo_rx: Duration,
}

/// Why octets are no packet for us; the order is that of RFC 5880 §6.8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Malformed {
    /// Not version 1.
    #[error("version is not 1")]
    Version,
    /// The Length field is less than a packet has.
    #[error("length is too short")]
    TooShort,
    /// The Length field is more than has come.
    #[error("length exceeds the datagram")]
    TooLong,
    /// Detect Mult is zero.
    #[error("detect multiplier is zero")]
    ZeroMultiplier,
    /// The M bit is set.
    #[error("multipoint bit is set")]
    Multipoint,
    /// My Discriminator is zero.
    #[error("my discriminator is zero")]
    ZeroDiscriminator,
    /// Your Discriminator is zero in a state that knows it.
    #[error("your discriminator is zero in state Init or Up")]
    UnknownYours,
    /// The A bit is set, and no session of ours uses authentication.
    #[error("authentication is not in use")]
    Authentication,
}

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

impl Packet {
    /// Octets of a packet without authentication.
    pub const LENGTH: usize = 24;

    /// Reads what arrived, with the checks of RFC 5880 §6.8.6 in their order as far as they need no session.
    ///
    /// Whether a session that Your Discriminator names exists is asked by §6.8.6 between these checks; the outcome, a discarded packet, is
    /// the same.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let field = |at: usize| octets.get(at).copied();
        // A datagram too short for the field fails the check of the length, which no shorter one can pass.
        let first = field(0).ok_or(Malformed::TooShort)?;
        if first >> 5 != VERSION {
            return Err(Malformed::Version);
        }
        let (Some(flags), Some(multiplier), Some(length)) = (field(1), field(2), field(3)) else {
            return Err(Malformed::TooShort);
        };
        let authenticated = flags & AUTHENTICATION != 0;
        if usize::from(length) < Self::LENGTH + if authenticated { 2 } else { 0 } {
            return Err(Malformed::TooShort);
        }
        if usize::from(length) > octets.len() {
            return Err(Malformed::TooLong);
        }
        if multiplier == 0 {
            return Err(Malformed::ZeroMultiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Malformed::Multipoint);
        }
        let packet = Self {
            diagnostic: Diagnostic(first & 0x1f),
            state: State::of(flags >> 6),
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            control_plane_independent: flags & INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator: word(octets, 4),
            your_discriminator: word(octets, 8),
            desired_min_tx: micros(octets, 12),
            required_min_rx: micros(octets, 16),
            required_min_echo_rx: micros(octets, 20),
        };
        if packet.my_discriminator == 0 {
            return Err(Malformed::ZeroDiscriminator);
        }
        if packet.your_discriminator == 0 && packet.state > State::Down {
            return Err(Malformed::UnknownYours);
        }
        if authenticated {
            return Err(Malformed::Authentication);
        }
        Ok(packet)
    }

    /// The octets to send.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = (self.state as u8) << 6
            | flag(self.poll, POLL)
            | flag(self.is_final, FINAL)
            | flag(self.control_plane_independent, INDEPENDENT)
            | flag(self.demand, DEMAND);
        let mut octets = [0; Self::LENGTH];
        octets[0] = VERSION << 5 | self.diagnostic.0 & 0x1f;
        octets[1] = flags;
        octets[2] = self.multiplier;
        octets[3] = Self::LENGTH as u8;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            as_micros(self.desired_min_tx),
            as_micros(self.required_min_rx),
            as_micros(self.required_min_echo_rx),
        ];
        for (field, word) in octets[4..].chunks_exact_mut(4).zip(words) {
            field.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

/// The caller has checked that the octets are there.
fn word(octets: &[u8], at: usize) -> u32 {
    octets[at..at + 4]
        .iter()
        .fold(0, |word, octet| word << 8 | u32::from(*octet))
}

fn micros(octets: &[u8], at: usize) -> Duration {
    Duration::from_micros(word(octets, at).into())
}

/// Longer than 71 minutes cannot be said.
fn as_micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

impl State {
    const fn of(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl Diagnostic {
    /// Nothing has happened.
    pub const NONE: Self = Self(0);
    /// The other end was not heard in time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The other end said that its session is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// An operator switched the session off.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

impl fmt::Display for Diagnostic {
    /// The names of RFC 5880 §4.1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}
