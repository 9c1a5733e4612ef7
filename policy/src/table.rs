//! The whole `inet margay` table as data.
//!
//! The compiler writes a [`Table`], [`diff`](mod@crate::diff) compares two of them, the nfnetlink encoder of the agent sends the
//! difference, [`Table::render`] writes it as `nft` text and [`Table::evaluate`] walks a packet through it. The language is
//! closed and only as rich as Margay's own rules need: what it cannot say, the kernel will never hold.
//!
//! ```text
//! Table ─┬─ sets    name → Set { key, interval, elements }
//!        ├─ maps    name → VerdictMap { key, elements: Element → Verdict }
//!        └─ chains  name → Chain { base: hook, rules: [ Rule { matches, actions } ] }
//! ```
//! Elements and chains sit behind `Arc`, so that a table of a hundred thousand addresses is cheap to copy, and two
//! versions of it are compared by pointer wherever nothing changed.
//!
//! What identifies an object in the kernel: sets and maps by name, declaration and elements; chains by name, hook and the
//! [`Digest`] of every rule, which the encoder stores as that rule's userdata (`NFTA_RULE_USERDATA`). The kernel never
//! updates the userdata of a chain that exists, therefore the rules carry it.

pub mod evaluate;
pub mod render;
pub mod rule;
pub mod set;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use evaluate::{Outcome, Packet};
pub use rule::{
    Action, CtState, Digest, LinkPattern, Match, PortRange, Rule, Side, Verdict, VmapKey,
};
pub use set::{Element, Family, Ifname, InvalidIfname, KeyType, Protocol, Set, VerdictMap};

/// Name of the one table that Margay owns, of family `inet`.
pub const TABLE: &str = "margay";

/// Prefix of the host side of every pod link.
pub const POD_LINK_PREFIX: &str = "mgy";

/// The desired (or applied) content of table `inet margay`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Table {
    /// Sets by name. Sets and maps share one space of names in the kernel.
    pub sets: BTreeMap<SetName, Set>,
    /// Verdict maps by name.
    pub maps: BTreeMap<SetName, VerdictMap>,
    /// Chains by name.
    pub chains: BTreeMap<ChainName, Arc<Chain>>,
}

/// A chain: a base chain when it has a hook, else reached by jump or goto.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Where the kernel calls it.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// How a base chain is attached. The kernel cannot change any of it once the chain exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// `filter` or `nat`.
    pub kind: ChainKind,
    /// The hook.
    pub hook: Hook,
    /// Lower runs earlier: 0 is `filter`, 100 is `srcnat`.
    pub priority: i32,
    /// What happens to a packet that reaches the end.
    pub policy: ChainPolicy,
}

/// Type of a base chain (`NFTA_CHAIN_TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainKind {
    /// Every packet.
    Filter,
    /// The first packet of a connection.
    Nat,
}

/// Netfilter hook of the `inet` family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// To a socket of this node.
    Input,
    /// Routed through this node.
    Forward,
    /// On its way out, after routing.
    Postrouting,
}

impl Hook {
    /// The kernel's number (`enum nf_inet_hooks`).
    pub fn number(self) -> u32 {
        match self {
            Self::Input => 1,
            Self::Forward => 2,
            Self::Postrouting => 4,
        }
    }
}

/// Policy of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainPolicy {
    /// `NF_ACCEPT`.
    Accept,
    /// `NF_DROP`.
    Drop,
}

/// Name of a set or of a verdict map, 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(Arc<str>);

/// Name of a chain, 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(Arc<str>);

impl SetName {
    /// The name as it is: it comes from this crate's own constants and hashes, or from the kernel.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ChainName {
    /// The name as it is: it comes from this crate's own constants and hashes, or from the kernel.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that is used and that nothing declares, or a declaration that its elements contradict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// A rule names a set or map that does not exist.
    #[error("chain {chain} refers to set or map {set}, which does not exist")]
    MissingSet {
        /// Where.
        chain: ChainName,
        /// What.
        set: SetName,
    },
    /// A rule or a map element goes to a chain that does not exist.
    #[error("{from} goes to chain {chain}, which does not exist")]
    MissingChain {
        /// Chain or map.
        from: String,
        /// What.
        chain: ChainName,
    },
    /// An element of another type than its set.
    #[error("{set} holds an element of another type: {element}")]
    WrongElement {
        /// Set or map.
        set: SetName,
        /// The element as `nft` text.
        element: String,
    },
}

impl Table {
    /// Declares a set, replacing one of the same name.
    pub fn add_set(&mut self, name: SetName, set: Set) {
        self.sets.insert(name, set);
    }

    /// Declares a verdict map, replacing one of the same name.
    pub fn add_map(&mut self, name: SetName, map: VerdictMap) {
        self.maps.insert(name, map);
    }

    /// Declares a chain, replacing one of the same name.
    pub fn add_chain(&mut self, name: ChainName, chain: impl Into<Arc<Chain>>) {
        self.chains.insert(name, chain.into());
    }

    /// The first thing in it that the kernel would refuse.
    ///
    /// # Errors
    /// A name that is used and not declared, or an element whose type its set does not have.
    pub fn check(&self) -> Result<(), Inconsistency> {
        for (name, chain) in &self.chains {
            self.check_chain(name, chain)?;
        }
        for (name, map) in &self.maps {
            for (element, verdict) in &map.elements {
                check_element(name, map.key, false, element)?;
                self.check_verdict(name.as_str(), verdict)?;
            }
        }
        for (name, set) in &self.sets {
            for element in set.elements.iter() {
                check_element(name, set.key, set.interval, element)?;
            }
        }
        Ok(())
    }

    fn check_chain(&self, name: &ChainName, chain: &Chain) -> Result<(), Inconsistency> {
        for rule in &chain.rules {
            for set in rule.sets() {
                if !self.sets.contains_key(set) && !self.maps.contains_key(set) {
                    return Err(Inconsistency::MissingSet {
                        chain: name.clone(),
                        set: set.clone(),
                    });
                }
            }
            for action in &rule.actions {
                if let Action::Verdict(verdict) = action {
                    self.check_verdict(name.as_str(), verdict)?;
                }
            }
        }
        Ok(())
    }

    fn check_verdict(&self, from: &str, verdict: &Verdict) -> Result<(), Inconsistency> {
        match verdict.target() {
            Some(chain) if !self.chains.contains_key(chain) => Err(Inconsistency::MissingChain {
                from: from.to_owned(),
                chain: chain.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn check_element(
    set: &SetName,
    key: KeyType,
    interval: bool,
    element: &Element,
) -> Result<(), Inconsistency> {
    if element.key_type() == key && element.is_range() == interval {
        return Ok(());
    }
    Err(Inconsistency::WrongElement {
        set: set.clone(),
        element: element.to_string(),
    })
}

/// The family of an address.
impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}
