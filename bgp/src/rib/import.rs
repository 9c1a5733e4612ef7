//! From adj-in to candidate: loop checks, then the peer's import policy.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::decision::Reason;
use super::interner::Interner;
use crate::config::{LocalAddresses, PeerConfig};
use crate::family::{Asn, Family};
use crate::policy::{Hand, Resolved, RouteSource, Subject};
use crate::wire::{Attributes, Community, NextHop};

/// What an import is judged against.
#[derive(Debug)]
pub(crate) struct Importer<'a> {
    pub(crate) config: &'a PeerConfig,
    /// The import policy as it is in force for this session.
    pub(crate) policy: Resolved,
    pub(crate) local_as: Asn,
    pub(crate) speaker_as: Asn,
    pub(crate) router_id: std::net::Ipv4Addr,
    pub(crate) remote_as: Asn,
    pub(crate) external: bool,
    pub(crate) local_addresses: LocalAddresses,
}

impl Importer<'_> {
    /// The attributes that the decision sees, or why the path may not take part.
    pub(crate) fn import(
        &self,
        prefix: &IpNetwork,
        received: &Arc<Attributes>,
        interner: &mut Interner,
    ) -> Result<Arc<Attributes>, Reason> {
        self.check(received)?;
        let hand = self.hand();
        let decision = self.policy.decide(subject(prefix, received), &hand);
        if !decision.accepted {
            return Err(Reason::RejectedByPolicy);
        }
        // RFC 8326 §4.2: the router there is about to go away. Whatever policy says, any other path is better.
        let leaving = self.external && received.communities.contains(&Community::GRACEFUL_SHUTDOWN);
        if decision.changes.is_empty() && !leaving {
            return Ok(Arc::clone(received));
        }
        let mut attributes = Attributes::clone(received);
        for change in decision.changes {
            change.apply(&mut attributes, prefix.is_ipv4(), &hand);
        }
        if leaving {
            attributes.local_pref = Some(0);
        }
        // A rule may have named this node.
        self.check_next_hop(&attributes)?;
        Ok(interner.intern(attributes))
    }

    pub(crate) fn hand(&self) -> Hand {
        Hand {
            prepend: self.remote_as,
            ..Hand::default()
        }
    }

    fn check(&self, attributes: &Attributes) -> Result<(), Reason> {
        let path = &attributes.as_path;
        if self.external && self.config.enforce_first_as && path.neighbour() != Some(self.remote_as)
        {
            return Err(Reason::FirstAs);
        }
        // RFC 4271 §9.1.2. A path of our own AS from an internal peer does not contain it.
        let mut own = path.count(self.local_as);
        if self.local_as != self.speaker_as {
            own += path.count(self.speaker_as);
        }
        if own > usize::from(self.config.allow_own_as) {
            return Err(Reason::AsLoop);
        }
        if attributes.originator_id == Some(self.router_id) {
            return Err(Reason::ReflectionLoop);
        }
        self.check_next_hop(attributes)
    }

    fn check_next_hop(&self, attributes: &Attributes) -> Result<(), Reason> {
        match attributes.next_hop {
            Some(next_hop) if !self.is_own(next_hop) => Ok(()),
            _ => Err(Reason::OwnNextHop),
        }
    }

    fn is_own(&self, NextHop { address, .. }: NextHop) -> bool {
        let family = match address {
            IpAddr::V4(_) => Family::Ipv4Unicast,
            IpAddr::V6(_) => Family::Ipv6Unicast,
        };
        self.local_addresses.of(family) == Some(address)
    }
}

/// A learned route as policy sees it.
pub(crate) fn subject<'a>(prefix: &'a IpNetwork, attributes: &'a Attributes) -> Subject<'a> {
    Subject {
        prefix,
        attributes,
        source: RouteSource::Learned,
    }
}
