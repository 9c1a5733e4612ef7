//! The decision process of RFC 4271 §9.1 as elimination: each step removes what is worse than the best of those
//! left, and a path remembers the step that removed it. Elimination, not pairwise comparison, because MED compares
//! only within one neighbour AS and is therefore no order: this way the result never depends on arrival.

use std::fmt;
use std::net::IpAddr;

use crate::family::Asn;
use crate::wire::Origin;

/// What the decision needs to know about one path.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) usable: Result<(), Reason>,
    pub(crate) local: bool,
    pub(crate) external: bool,
    pub(crate) local_pref: u32,
    pub(crate) as_path_length: usize,
    pub(crate) origin: Origin,
    pub(crate) neighbour: Option<Asn>,
    pub(crate) med: u32,
    pub(crate) metric: u32,
    pub(crate) router_id: u32,
    pub(crate) cluster_list_length: usize,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) path_id: u32,
}

/// Why a path is used, or what it lost by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The best path.
    Best,
    /// As good as the best path up to the tie-break.
    Multipath,
    PathId,
    PeerAddress,
    ClusterList,
    RouterId,
    Metric,
    Internal,
    Med,
    Origin,
    AsPathLength,
    LocalPref,
    LocalOrigin,
    NextHopUnresolved,
    RejectedByPolicy,
    OwnNextHop,
    AsLoop,
    FirstAs,
    ReflectionLoop,
    /// Not decided yet.
    #[default]
    Pending,
}

/// How many paths may share the traffic, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multipath {
    pub(crate) maximum: usize,
    pub(crate) relax: bool,
}

/// Gives each candidate its reason; at most one is [`Reason::Best`].
pub(crate) fn decide(candidates: &[Candidate], multipath: Multipath) -> Vec<Reason> {
    let mut reasons: Vec<_> = candidates
        .iter()
        .map(|candidate| candidate.usable.err().unwrap_or(Reason::Best))
        .collect();
    let mut race = Race {
        candidates,
        reasons: &mut reasons,
    };
    race.keep_least(Reason::LocalOrigin, |c| !c.local);
    race.keep_least(Reason::LocalPref, |c| u32::MAX - c.local_pref);
    race.keep_least(Reason::AsPathLength, |c| c.as_path_length);
    race.keep_least(Reason::Origin, |c| c.origin);
    race.med();
    race.keep_least(Reason::Internal, |c| !c.external);
    race.keep_least(Reason::Metric, |c| c.metric);
    let equal = race.alive();
    race.keep_least(Reason::RouterId, |c| c.router_id);
    race.keep_least(Reason::ClusterList, |c| c.cluster_list_length);
    race.keep_least(Reason::PeerAddress, |c| c.peer);
    race.keep_least(Reason::PathId, |c| c.path_id);
    let Some(&best) = race.alive().first() else {
        return reasons;
    };
    let mut members: Vec<_> = equal.into_iter().filter(|other| *other != best).collect();
    members.retain(|other| {
        let (other, best) = (&candidates[*other], &candidates[best]);
        !best.local && (multipath.relax || other.neighbour == best.neighbour)
    });
    members.sort_by_key(|member| (candidates[*member].peer, candidates[*member].path_id));
    for member in members
        .into_iter()
        .take(multipath.maximum.saturating_sub(1))
    {
        reasons[member] = Reason::Multipath;
    }
    reasons
}

struct Race<'a> {
    candidates: &'a [Candidate],
    reasons: &'a mut [Reason],
}

impl Race<'_> {
    fn alive(&self) -> Vec<usize> {
        (0..self.reasons.len())
            .filter(|index| self.reasons[*index] == Reason::Best)
            .collect()
    }

    fn keep_least<K: Ord>(&mut self, reason: Reason, key: impl Fn(&Candidate) -> K) {
        let alive = self.alive();
        let Some(least) = alive
            .iter()
            .map(|index| key(&self.candidates[*index]))
            .min()
        else {
            return;
        };
        for index in alive {
            if key(&self.candidates[index]) > least {
                self.reasons[index] = reason;
            }
        }
    }

    /// RFC 4271 §9.1.2.2 c: only among paths through the same neighbour AS.
    fn med(&mut self) {
        let alive = self.alive();
        for &index in &alive {
            let this = &self.candidates[index];
            let beaten = |other: &&usize| {
                let other = &self.candidates[**other];
                other.neighbour == this.neighbour && other.med < this.med
            };
            if alive.iter().any(|other| beaten(&other)) {
                self.reasons[index] = Reason::Med;
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Best => "best",
            Self::Multipath => "equal to the best path",
            Self::PathId => "higher path identifier",
            Self::PeerAddress => "higher peer address",
            Self::ClusterList => "longer cluster list",
            Self::RouterId => "higher router id",
            Self::Metric => "longer way to the next hop",
            Self::Internal => "internal loses to external",
            Self::Med => "higher MED",
            Self::Origin => "worse origin",
            Self::AsPathLength => "longer AS path",
            Self::LocalPref => "lower local preference",
            Self::LocalOrigin => "loses to a route of our own",
            Self::NextHopUnresolved => "next hop does not resolve",
            Self::RejectedByPolicy => "rejected by import policy",
            Self::OwnNextHop => "next hop is this node",
            Self::AsLoop => "our AS is in the path",
            Self::FirstAs => "path does not begin with the peer's AS",
            Self::ReflectionLoop => "reflected back to its origin",
            Self::Pending => "not decided yet",
        })
    }
}

#[cfg(test)]
mod tests;
