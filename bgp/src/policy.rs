//! Import and export policy as data: ordered rules, each with conditions, changes and a verdict.
//!
//! ```text
//!  route ─► rule 1 ─ conditions hold? ─► changes ─► accept | reject: done
//!              │ no                          └─────► continue ─┐
//!              ▼                                               ▼
//!           rule 2 … ─► nothing decided: `otherwise`        rule 2 sees the changed route
//! ```
//! There is no implicit policy (RFC 8212): a peer without one neither learns nor is told anything.
//!
//! Conditions about the peer hold or not for a whole session, so they are resolved once ([`Policy::facing`]), and
//! peers for which the same rules remain share an update group.

mod change;
mod communities;
mod condition;
mod path_pattern;
#[cfg(test)]
mod tests;
mod trace;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

pub(crate) use change::Hand;
pub use change::{Change, CommunityChange, NextHopChange};
pub use communities::{AnyCommunity, CommunityPattern, NotACommunity};
pub use condition::{Condition, PeerCondition, PrefixRange, RouteSource};
pub use path_pattern::{BadPathPattern, PathPattern};

use crate::family::Asn;
use crate::wire::Attributes;

/// Ordered rules and what happens to routes that none of them decides. The default rejects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Rules in the order in which they are tried.
    pub rules: Arc<[Arc<Rule>]>,
    /// What holds when no rule decides.
    pub otherwise: Otherwise,
}

/// Conditions, changes and a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// For people.
    pub name: RuleName,
    /// Must all hold for the session; an empty list always holds.
    pub peers: Vec<PeerCondition>,
    /// Must all hold for the route; an empty list always holds.
    pub conditions: Vec<Condition>,
    /// Applied in order unless the rule rejects.
    pub changes: Vec<Change>,
    /// What the rule decides.
    pub verdict: Verdict,
}

/// Where a rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuleName {
    /// The filter.
    pub filter: Arc<str>,
    /// Its place there, from 1.
    pub number: usize,
    /// What its author calls it; may be empty.
    pub name: Arc<str>,
}

/// What becomes of a route to which a rule applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Use it.
    Accept,
    /// Do not use it.
    #[default]
    Reject,
    /// Make the changes, and ask the rules that follow.
    Continue,
}

/// What becomes of a route that no rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Otherwise {
    /// It is used.
    Accept,
    /// It is used if this speaker originates it.
    AcceptOwn,
    /// It is not used.
    #[default]
    Reject,
}

/// What holds for a whole session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facing<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) link: Option<&'a str>,
    pub(crate) remote_as: Asn,
    pub(crate) external: bool,
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) prefix: &'a IpNetwork,
    pub(crate) attributes: &'a Attributes,
    pub(crate) source: RouteSource,
}

/// The rules that remain for one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resolved {
    rules: Arc<[Arc<Rule>]>,
    otherwise: Otherwise,
}

/// What the rules came to.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) accepted: bool,
    /// Everything to change, in order; nothing when the route is rejected.
    pub(crate) changes: Vec<&'a Change>,
}

impl Policy {
    /// Rules, and what holds when none decides.
    pub fn new(rules: impl IntoIterator<Item = Rule>, otherwise: Otherwise) -> Self {
        Self {
            rules: rules.into_iter().map(Arc::new).collect(),
            otherwise,
        }
    }

    /// Everything passes.
    pub fn accept_all() -> Self {
        Self::new([], Otherwise::Accept)
    }

    /// Nothing passes.
    pub fn reject_all() -> Self {
        Self::default()
    }

    /// Only routes that this speaker originates pass.
    pub fn own_only() -> Self {
        Self::new([], Otherwise::AcceptOwn)
    }

    /// Only prefixes in `ranges` pass.
    pub fn prefixes(ranges: Vec<PrefixRange>) -> Self {
        let rule = Rule {
            conditions: vec![Condition::Prefix(ranges)],
            verdict: Verdict::Accept,
            ..Rule::default()
        };
        Self::new([rule], Otherwise::Reject)
    }

    /// Whether a learned route may pass.
    pub fn passes_learned(&self) -> bool {
        let only_own = |condition: &Condition| matches!(condition, Condition::Source(sources) if !sources.contains(&RouteSource::Learned));
        let passes = |rule: &Arc<Rule>| {
            rule.verdict == Verdict::Accept && !rule.conditions.iter().any(only_own)
        };
        self.otherwise == Otherwise::Accept || self.rules.iter().any(passes)
    }

    /// What of it is in force for a session.
    pub(crate) fn facing(&self, session: &Facing<'_>) -> Resolved {
        let applies = |rule: &Arc<Rule>| rule.peer_miss(session).is_none();
        let rules = if self.rules.iter().all(applies) {
            Arc::clone(&self.rules)
        } else {
            self.rules
                .iter()
                .filter(|rule| applies(rule))
                .cloned()
                .collect()
        };
        Resolved {
            rules,
            otherwise: self.otherwise,
        }
    }
}

impl Resolved {
    /// Tries the rules in order; `hand` says what the changes that depend on the session come to.
    pub(crate) fn decide(&self, subject: Subject<'_>, hand: &Hand) -> Decision<'_> {
        let mut changes = Vec::new();
        let mut seen = Cow::Borrowed(subject.attributes);
        for rule in &*self.rules {
            let subject = Subject {
                attributes: &seen,
                ..subject
            };
            if rule.miss(&subject).is_some() {
                continue;
            }
            if rule.verdict == Verdict::Reject {
                return Decision::rejected();
            }
            changes.extend(&rule.changes);
            if rule.verdict == Verdict::Accept {
                return Decision {
                    accepted: true,
                    changes,
                };
            }
            if !rule.changes.is_empty() {
                let ipv4 = subject.prefix.is_ipv4();
                let attributes = seen.to_mut();
                rule.changes
                    .iter()
                    .for_each(|change| change.apply(attributes, ipv4, hand));
            }
        }
        if self.otherwise.accepts(subject.source) {
            return Decision {
                accepted: true,
                changes,
            };
        }
        Decision::rejected()
    }
}

impl Decision<'_> {
    fn rejected() -> Self {
        Self {
            accepted: false,
            changes: Vec::new(),
        }
    }
}

impl Otherwise {
    pub(crate) fn accepts(self, source: RouteSource) -> bool {
        match self {
            Self::Accept => true,
            Self::AcceptOwn => source != RouteSource::Learned,
            Self::Reject => false,
        }
    }
}

impl Rule {
    /// The first condition about the peer that does not hold.
    pub(crate) fn peer_miss(&self, session: &Facing<'_>) -> Option<&PeerCondition> {
        self.peers
            .iter()
            .find(|condition| !condition.holds(session))
    }

    /// The first condition about the route that does not hold.
    pub(crate) fn miss(&self, subject: &Subject<'_>) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| !condition.holds(subject))
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.number)?;
        if !self.name.is_empty() {
            write!(f, " ({})", self.name)?;
        }
        write!(f, " of filter {}", self.filter)
    }
}
