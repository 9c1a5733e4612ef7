//! What guards a connection below BGP. The speaker only carries it to the driver, who sets it on the socket.

use std::fmt;

/// Guards of a connection with one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protection {
    /// TCP MD5 key (RFC 2385).
    pub password: Option<Password>,
    /// How far away the peer may be.
    pub reach: Reach,
}

/// How far away a peer may be, and what proves it. A router that passes a packet on takes one off its TTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reach {
    /// As far as the system's own TTL goes.
    #[default]
    Anywhere,
    /// Within so many hops: packets leave with this TTL, so that a peer further away does not hear us.
    Within(u8),
    /// Within so many hops, and packets prove it: they leave with TTL 255, and what has come further is dropped (RFC 5082).
    Secured(u8),
}

impl Reach {
    /// The TTL of what is sent; `None` for the system's own.
    pub fn ttl(self) -> Option<u8> {
        match self {
            Self::Anywhere => None,
            Self::Within(hops) => Some(hops.max(1)),
            Self::Secured(_) => Some(255),
        }
    }

    /// The lowest TTL of what is accepted; `None` for any.
    pub fn least_ttl(self) -> Option<u8> {
        match self {
            Self::Anywhere | Self::Within(_) => None,
            // The first hop takes nothing off: TTL 255 is a neighbour's.
            Self::Secured(hops) => Some(255 - hops.saturating_sub(1)),
        }
    }
}

/// A TCP MD5 key; never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conformance_112_a_secured_neighbour_sends_255_and_each_hop_more_is_one_less() {
        let ttls = |reach: Reach| (reach.ttl(), reach.least_ttl());
        assert_eq!(ttls(Reach::Secured(1)), (Some(255), Some(255)));
        assert_eq!(ttls(Reach::Secured(3)), (Some(255), Some(253)));
        assert_eq!(ttls(Reach::Secured(255)), (Some(255), Some(1)));
        assert_eq!(ttls(Reach::Within(1)), (Some(1), None));
        assert_eq!(ttls(Reach::Anywhere), (None, None));
    }

    #[test]
    fn a_password_is_not_printed() {
        let password = Password("secret".to_owned());
        assert!(!format!("{password:?}").contains("secret"));
    }
}
