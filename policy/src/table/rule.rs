//! Rules: a closed language of matches and actions.
//!
//! The doc comment of each [`Match`] and [`Action`] says which nf_tables expressions it stands for; the encoder writes
//! exactly those. Change [`ENCODING`] with them.

use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;

use ipnetwork::IpNetwork;
use sha2::{Digest as _, Sha256};

use super::set::{Family, Ifname, Protocol};
use super::{ChainName, SetName};

/// Version of the lowering to kernel expressions. It is part of every rule's digest, so that a newer agent replaces rules
/// that an older one wrote in another way.
pub const ENCODING: u32 = 1;

/// One rule: when all matches hold, the actions happen in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Conditions, tested in order.
    pub matches: Vec<Match>,
    /// What then happens, in order.
    pub actions: Vec<Action>,
}

impl Rule {
    /// A rule.
    pub fn new(
        matches: impl IntoIterator<Item = Match>,
        actions: impl IntoIterator<Item = Action>,
    ) -> Self {
        Self {
            matches: matches.into_iter().collect(),
            actions: actions.into_iter().collect(),
        }
    }

    /// What identifies this rule's content: stored as its userdata in the kernel and compared at start.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(ENCODING.to_be_bytes());
        hash.update(self.to_string().as_bytes());
        Digest::of(hash)
    }

    /// The sets and maps it refers to.
    pub fn sets(&self) -> impl Iterator<Item = &SetName> {
        let maps = self.actions.iter().filter_map(|action| match action {
            Action::Vmap { map, .. } => Some(map),
            _ => None,
        });
        self.matches.iter().filter_map(Match::set).chain(maps)
    }

    /// The chain it jumps or goes to by itself (not through a map).
    pub fn target(&self) -> Option<&ChainName> {
        self.actions.iter().find_map(|action| match action {
            Action::Verdict(verdict) => verdict.target(),
            _ => None,
        })
    }
}

/// First 16 bytes of a SHA-256: long enough that no user can make two different rules look alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    fn of(hash: Sha256) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(bytes)
    }

    /// Of any text.
    pub fn of_text(text: &str) -> Self {
        Self::of(Sha256::new_with_prefix(text.as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One condition.
///
/// Notation of the lowering: `meta X` loads into a register, `cmp` compares it, `net(offset,len)` and `th(offset,len)` load
/// from the network and transport header, `[family]` stands for `meta nfproto; cmp == 2` (IPv4) or `10` (IPv6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// `iifname "mgya"` or `iifname "mgy*"`: `meta iifname; cmp ==` over 16 bytes, or over the bytes of the prefix only.
    Iifname(LinkPattern),
    /// `oifname …`: as `iifname`, with `meta oifname`.
    Oifname(LinkPattern),
    /// `iifname . oifname @set`: `meta iifname → reg a (16 bytes); meta oifname → reg a+16; lookup`.
    LinkPairIn(SetName),
    /// `iifname . ip saddr @set`: `[family]; meta iifname → reg a (16 bytes); net(saddr) → reg a+16; lookup`.
    LinkSourceIn(Family, SetName),
    /// `ip saddr @set`, `ip6 daddr != @set`: `[family]; net(saddr | daddr); lookup` (inverted: `NFT_LOOKUP_F_INV`).
    AddressIn {
        /// Source or destination.
        side: Side,
        /// Which header.
        family: Family,
        /// Hash or interval set of addresses.
        set: SetName,
        /// `!= @set`
        inverted: bool,
    },
    /// `ip saddr 10.0.0.0/8`: `[family]; net(saddr | daddr); bitwise & mask; cmp == network`; no bitwise for a host prefix.
    AddressIs {
        /// Source or destination.
        side: Side,
        /// The network, host bits zero. Never of prefix length 0: that is [`Match::Nfproto`].
        network: IpNetwork,
    },
    /// `ip daddr . meta l4proto . th dport @set`: `[family]; net(daddr) → reg a; meta l4proto → next reg; th(2,2) → next reg; lookup`.
    ServiceIn(Family, SetName),
    /// `meta nfproto ipv4`: `[family]`.
    Nfproto(Family),
    /// `meta l4proto tcp`: `meta l4proto; cmp ==` over one byte.
    L4proto(Protocol),
    /// `th dport 80` or `th dport 80-90`: `th(2,2); cmp ==` or, for more than one port, `cmp >=`, `cmp <=`. Always after `L4proto`.
    Dport(PortRange),
    /// `ct state established,related`: `ct state; bitwise & mask; cmp != 0`.
    CtState(CtState),
    /// `icmpv6 type 133-137`: `meta l4proto; cmp == 58; th(0,1); cmp >= first; cmp <= last`.
    Icmpv6Type(u8, u8),
}

impl Match {
    /// The set it refers to.
    pub fn set(&self) -> Option<&SetName> {
        match self {
            Self::LinkPairIn(set) | Self::LinkSourceIn(_, set) | Self::ServiceIn(_, set) => {
                Some(set)
            }
            Self::AddressIn { set, .. } => Some(set),
            _ => None,
        }
    }
}

/// One thing a rule does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// `counter`: counts packets and bytes; the numbers are not part of the rule's content.
    Counter,
    /// A verdict: `immediate` into the verdict register.
    Verdict(Verdict),
    /// `iifname vmap @map`: loads the key, then `lookup` with the verdict register as destination. Without element: the rule ends.
    Vmap {
        /// What is looked up.
        key: VmapKey,
        /// Where.
        map: SetName,
    },
    /// `snat ip to 192.0.2.1`: `immediate` of the address; `nat` of type snat, that family, minimum and maximum address.
    Snat(IpAddr),
}

/// Key of a verdict map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VmapKey {
    /// `iifname`: `meta iifname`.
    Iifname,
    /// `oifname`: `meta oifname`.
    Oifname,
    /// `meta l4proto . th dport`: `meta l4proto → reg a; th(2,2) → next reg`.
    ProtoPort,
}

/// What ends the walk through a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Done with this base chain.
    Accept,
    /// Dropped.
    Drop,
    /// Back to after the last jump.
    Return,
    /// Into a chain and, unless that decides, back.
    Jump(ChainName),
    /// Into a chain, never back to this one.
    Goto(ChainName),
}

impl Verdict {
    /// The chain it leads to.
    pub fn target(&self) -> Option<&ChainName> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            Self::Accept | Self::Drop | Self::Return => None,
        }
    }
}

/// Which links a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkPattern {
    /// Exactly this one.
    Is(Ifname),
    /// All whose name begins so.
    StartsWith(Ifname),
}

/// Source or destination address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// `saddr`: offset 12, length 4; IPv6: offset 8, length 16.
    Source,
    /// `daddr`: offset 16, length 4; IPv6: offset 24, length 16.
    Destination,
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest, at least `first`.
    pub last: u16,
}

impl PortRange {
    /// One port.
    pub fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Whether it is just one port.
    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Whether it holds this port.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// Connection tracking states, as the kernel's bits (`NF_CT_STATE_BIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtState(u32);

impl CtState {
    /// Not understood by connection tracking.
    pub const INVALID: Self = Self(1);
    /// Of a connection seen in both directions.
    pub const ESTABLISHED: Self = Self(2);
    /// Belongs to one, as its errors do.
    pub const RELATED: Self = Self(4);
    /// Begins one.
    pub const NEW: Self = Self(8);
    /// Exempt from tracking.
    pub const UNTRACKED: Self = Self(64);

    /// The kernel's mask.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether the two have a state in common.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for CtState {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
