//! Import and export policy as data: ordered rules, the first whose conditions all hold decides.
//!
//! There is no implicit policy (RFC 8212): a peer without one neither learns nor is told anything.

use ipnetwork::IpNetwork;

use crate::wire::{Attributes, Community};

/// Ordered rules and what happens to routes that none of them names. The default rejects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Rules in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// The verdict when no rule applies.
    pub otherwise: Verdict,
}

/// Conditions, changes and a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// All must hold; an empty list always holds.
    pub conditions: Vec<Condition>,
    /// Applied in order when the rule accepts.
    pub changes: Vec<Change>,
    /// What the rule decides.
    pub verdict: Verdict,
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Use it.
    Accept,
    /// Do not use it.
    #[default]
    Reject,
}

/// A property of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The prefix is in one of these ranges.
    Prefix(Vec<PrefixRange>),
    /// This speaker originates the route.
    Originated,
    /// The route was learned from a peer.
    Learned,
    /// The route carries the community.
    Community(Community),
}

/// A prefix and the lengths of its more specifics that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixRange {
    /// The covering prefix.
    pub prefix: IpNetwork,
    /// Shortest length that matches.
    pub at_least: u8,
    /// Longest length that matches.
    pub at_most: u8,
}

/// A change to a route's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Replaces LOCAL_PREF.
    LocalPref(u32),
    /// Replaces MULTI_EXIT_DISC.
    Med(u32),
    /// Adds a community where it is missing.
    AddCommunity(Community),
}

impl Policy {
    /// Everything passes.
    pub fn accept_all() -> Self {
        Self {
            rules: Vec::new(),
            otherwise: Verdict::Accept,
        }
    }

    /// Nothing passes.
    pub fn reject_all() -> Self {
        Self::default()
    }

    /// Only routes that this speaker originates pass.
    pub fn own_only() -> Self {
        Self::accept_where(vec![Condition::Originated])
    }

    /// Only prefixes in `ranges` pass.
    pub fn prefixes(ranges: Vec<PrefixRange>) -> Self {
        Self::accept_where(vec![Condition::Prefix(ranges)])
    }

    fn accept_where(conditions: Vec<Condition>) -> Self {
        let rule = Rule {
            conditions,
            changes: Vec::new(),
            verdict: Verdict::Accept,
        };
        Self {
            rules: vec![rule],
            otherwise: Verdict::Reject,
        }
    }

    /// The changes to make when the route passes, `None` when it does not.
    pub(crate) fn decide(
        &self,
        prefix: &IpNetwork,
        attributes: &Attributes,
        originated: bool,
    ) -> Option<&[Change]> {
        for rule in &self.rules {
            if rule
                .conditions
                .iter()
                .all(|condition| condition.holds(prefix, attributes, originated))
            {
                return (rule.verdict == Verdict::Accept).then_some(&rule.changes[..]);
            }
        }
        (self.otherwise == Verdict::Accept).then_some(&[])
    }
}

impl Condition {
    fn holds(&self, prefix: &IpNetwork, attributes: &Attributes, originated: bool) -> bool {
        match self {
            Self::Prefix(ranges) => ranges.iter().any(|range| range.contains(prefix)),
            Self::Originated => originated,
            Self::Learned => !originated,
            Self::Community(community) => attributes.communities.contains(community),
        }
    }
}

impl PrefixRange {
    /// The prefix itself and everything inside it.
    pub fn or_longer(prefix: IpNetwork) -> Self {
        let at_most = if prefix.is_ipv4() { 32 } else { 128 };
        Self {
            prefix,
            at_least: prefix.prefix(),
            at_most,
        }
    }

    /// The prefix itself only.
    pub fn exact(prefix: IpNetwork) -> Self {
        Self {
            prefix,
            at_least: prefix.prefix(),
            at_most: prefix.prefix(),
        }
    }

    /// Whether `other` is inside, with a length that counts.
    pub fn contains(&self, other: &IpNetwork) -> bool {
        self.prefix.prefix() <= other.prefix()
            && (self.at_least..=self.at_most).contains(&other.prefix())
            && self.prefix.contains(other.network())
    }
}

impl Change {
    pub(crate) fn apply(&self, attributes: &mut Attributes) {
        match self {
            Self::LocalPref(value) => attributes.local_pref = Some(*value),
            Self::Med(value) => attributes.med = Some(*value),
            Self::AddCommunity(community) => {
                if !attributes.communities.contains(community) {
                    attributes.communities.push(*community);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn a_policy_that_nobody_wrote_rejects() {
        assert_eq!(
            Policy::default().decide(&net("10.0.0.0/8"), &Attributes::default(), true),
            None
        );
    }

    #[test]
    fn ranges_bound_the_length_from_both_sides() {
        let range = PrefixRange {
            prefix: net("10.0.0.0/16"),
            at_least: 24,
            at_most: 26,
        };
        assert!(range.contains(&net("10.0.1.64/26")));
        assert!(!range.contains(&net("10.0.0.0/16")));
        assert!(!range.contains(&net("10.0.1.64/27")));
        assert!(!range.contains(&net("10.1.0.0/24")));
        assert!(!PrefixRange::or_longer(net("10.0.0.0/8")).contains(&net("fd00::/64")));
    }

    #[test]
    fn own_only_passes_nothing_that_was_learned() {
        let policy = Policy::own_only();
        assert!(
            policy
                .decide(&net("10.0.0.0/8"), &Attributes::default(), true)
                .is_some()
        );
        assert!(
            policy
                .decide(&net("10.0.0.0/8"), &Attributes::default(), false)
                .is_none()
        );
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let first = Rule {
            conditions: vec![Condition::Prefix(vec![PrefixRange::exact(net(
                "10.0.0.0/8",
            ))])],
            changes: vec![],
            verdict: Verdict::Reject,
        };
        let policy = Policy {
            rules: vec![first],
            otherwise: Verdict::Accept,
        };
        assert!(
            policy
                .decide(&net("10.0.0.0/8"), &Attributes::default(), false)
                .is_none()
        );
        assert!(
            policy
                .decide(&net("10.0.0.0/9"), &Attributes::default(), false)
                .is_some()
        );
    }
}
