//! One rule, from what a person wrote to what the speaker asks.

use super::{Compiled, Way};
use ipnetwork::IpNetwork;
use margay_bgp::{
    Asn, Change, CommunityChange, Condition, NextHopChange, PathPattern, PeerCondition,
    PrefixRange, RouteSource, Rule, RuleName, Verdict,
};
use margay_proto::crd::{
    BGPFilterSpec, FilterAction, FilterCommunities, FilterCommunityChange, FilterMatch,
    FilterNextHop, FilterPath, FilterPeer, FilterPeerType, FilterPrefix, FilterPrepend, FilterRule,
    FilterSet, FilterSource, bgp_filter::Unknown,
};
use std::{fmt::Display, net::IpAddr, str::FromStr, sync::Arc};

/// A field's path, below which faults are named.
#[derive(Clone, Copy)]
struct At<'a>(&'a dyn Display);

impl At<'_> {
    fn refuse(&self, field: &str, value: impl Display, remedy: impl Display) -> String {
        format!("{}.{field} is `{value}`: {remedy}", self.0)
    }

    /// A newer definition's fields mean something that is not done here.
    fn knows(&self, unknown: &Unknown) -> Result<(), String> {
        match unknown.keys().next() {
            None => Ok(()),
            Some(field) => Err(format!(
                "{}.{field} is not known to this agent's version; upgrade the agents or take the field out",
                self.0
            )),
        }
    }

    fn newer(&self, field: &str) -> String {
        format!(
            "{}.{field} has a value that is not known to this agent's version; upgrade the agents or choose another",
            self.0
        )
    }

    fn parse<T: FromStr>(&self, field: &str, text: &str, remedy: &str) -> Result<T, String> {
        text.parse().map_err(|_| self.refuse(field, text, remedy))
    }

    fn parse_all<T>(&self, field: &str, texts: &[String]) -> Result<Vec<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        let parse = |text: &String| text.parse().map_err(|e| self.refuse(field, text, e));
        texts.iter().map(parse).collect()
    }

    fn networks(&self, field: &str, texts: &[String]) -> Result<Vec<IpNetwork>, String> {
        let remedy = "give an IP address, or a network in CIDR notation";
        let parse = |text: &String| self.parse(field, text, remedy);
        texts.iter().map(parse).collect()
    }
}

pub(super) fn rules(name: &str, spec: &BGPFilterSpec, way: Way) -> Compiled {
    let object = format!("BGPFilter/{name}: spec");
    At(&object).knows(&spec.unknown)?;
    let filter: Arc<str> = name.into();
    let compile = |(index, rule): (usize, &FilterRule)| {
        let place = format!("{object}.rules[{index}]");
        let name = RuleName {
            filter: Arc::clone(&filter),
            number: index + 1,
            name: rule.name.as_deref().unwrap_or_default().into(),
        };
        compile(At(&place), name, rule, way).map(Arc::new)
    };
    spec.rules.iter().enumerate().map(compile).collect()
}

fn compile(at: At<'_>, name: RuleName, rule: &FilterRule, way: Way) -> Result<Rule, String> {
    at.knows(&rule.unknown)?;
    let verdict = match rule.action {
        FilterAction::Accept => Verdict::Accept,
        FilterAction::Reject => Verdict::Reject,
        FilterAction::Continue => Verdict::Continue,
        FilterAction::Unknown => return Err(at.newer("action")),
    };
    let (mut peers, mut conditions, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let place = format!("{}.match", at.0);
    if let Some(matches) = &rule.matches {
        let at = At(&place);
        if let Some(peer) = &matches.peer {
            peers = peer_conditions(At(&format!("{place}.peer")), peer)?;
        }
        conditions = route_conditions(at, matches)?;
    }
    let names_sources = conditions.iter().any(|c| matches!(c, Condition::Source(_)));
    if way == Way::Export && verdict == Verdict::Accept && !names_sources {
        // Nobody becomes transit by a rule that was written to mark the node's own routes.
        conditions.push(Condition::Source(RouteSource::OWN.to_vec()));
    }
    if let Some(set) = &rule.set {
        changes = set_changes(At(&format!("{}.set", at.0)), set, way)?;
    }
    Ok(Rule {
        name,
        peers,
        conditions,
        changes,
        verdict,
    })
}

fn peer_conditions(at: At<'_>, peer: &FilterPeer) -> Result<Vec<PeerCondition>, String> {
    at.knows(&peer.unknown)?;
    let mut conditions = Vec::new();
    if let Some(addresses) = &peer.addresses {
        conditions.push(PeerCondition::Address(at.networks("addresses", addresses)?));
    }
    if let Some(numbers) = &peer.as_numbers {
        conditions.push(PeerCondition::As(asns(numbers)));
    }
    match peer.kind {
        None => {}
        Some(FilterPeerType::Internal) => conditions.push(PeerCondition::External(false)),
        Some(FilterPeerType::External) => conditions.push(PeerCondition::External(true)),
        Some(FilterPeerType::Unknown) => return Err(at.newer("type")),
    }
    Ok(conditions)
}

fn route_conditions(at: At<'_>, matches: &FilterMatch) -> Result<Vec<Condition>, String> {
    at.knows(&matches.unknown)?;
    let mut conditions = Vec::new();
    if let Some(prefixes) = &matches.prefixes {
        let range = |p: &FilterPrefix| range(At(&format!("{}.prefixes[]", at.0)), p);
        let ranges: Result<Vec<_>, String> = prefixes.iter().map(range).collect();
        conditions.push(Condition::Prefix(ranges?));
    }
    if let Some(next_hops) = &matches.next_hops {
        conditions.push(Condition::NextHop(at.networks("nextHops", next_hops)?));
    }
    if let Some(sources) = &matches.sources {
        let source = |s: &FilterSource| source(*s).ok_or_else(|| at.newer("sources"));
        let sources: Result<Vec<_>, String> = sources.iter().map(source).collect();
        conditions.push(Condition::Source(sources?));
    }
    if let Some(communities) = &matches.communities {
        let place = format!("{}.communities", at.0);
        conditions.extend(community_conditions(At(&place), communities)?);
    }
    if let Some(path) = &matches.as_path {
        conditions.extend(path_conditions(At(&format!("{}.asPath", at.0)), path)?);
    }
    Ok(conditions)
}

fn range(at: At<'_>, given: &FilterPrefix) -> Result<PrefixRange, String> {
    at.knows(&given.unknown)?;
    let remedy = "give a network in CIDR notation";
    let prefix: IpNetwork = at.parse("prefix", &given.prefix, remedy)?;
    let (own, longest) = (prefix.prefix(), if prefix.is_ipv4() { 32 } else { 128 });
    let at_least = given.ge.unwrap_or(own);
    let longer = if given.ge.is_some() { longest } else { own };
    let at_most = given.le.unwrap_or(longer);
    if own <= at_least && at_least <= at_most && at_most <= longest {
        return Ok(PrefixRange {
            prefix,
            at_least,
            at_most,
        });
    }
    Err(at.refuse(
        "prefix",
        prefix,
        format!("ge {at_least} and le {at_most} are no lengths from its own up to {longest}"),
    ))
}

fn source(source: FilterSource) -> Option<RouteSource> {
    match source {
        FilterSource::PodBlock => Some(RouteSource::PodBlock),
        FilterSource::PodAddress => Some(RouteSource::PodAddress),
        FilterSource::Service => Some(RouteSource::Service),
        FilterSource::Node => Some(RouteSource::Node),
        FilterSource::Static => Some(RouteSource::Static),
        FilterSource::Learned => Some(RouteSource::Learned),
        FilterSource::Unknown => None,
    }
}

fn community_conditions(
    at: At<'_>,
    communities: &FilterCommunities,
) -> Result<Vec<Condition>, String> {
    at.knows(&communities.unknown)?;
    let mut conditions = Vec::new();
    if let Some(any) = &communities.any_of {
        conditions.push(Condition::AnyCommunity(at.parse_all("anyOf", any)?));
    }
    if let Some(all) = &communities.all_of {
        conditions.push(Condition::AllCommunities(at.parse_all("allOf", all)?));
    }
    if let Some(none) = &communities.none_of {
        conditions.push(Condition::NoCommunity(at.parse_all("noneOf", none)?));
    }
    Ok(conditions)
}

fn path_conditions(at: At<'_>, path: &FilterPath) -> Result<Vec<Condition>, String> {
    at.knows(&path.unknown)?;
    let mut conditions = Vec::new();
    if let Some(origin) = &path.origin_as {
        conditions.push(Condition::OriginAs(asns(origin)));
    }
    if let Some(neighbour) = &path.neighbour_as {
        conditions.push(Condition::NeighbourAs(asns(neighbour)));
    }
    if path.min_length.is_some() || path.max_length.is_some() {
        let least = path.min_length.map_or(0, usize::from);
        let most = path.max_length.map_or(usize::MAX, usize::from);
        conditions.push(Condition::PathLength(least, most));
    }
    if let Some(regex) = &path.regex {
        let pattern = PathPattern::new(regex).map_err(|e| at.refuse("regex", regex, e))?;
        conditions.push(Condition::Path(pattern));
    }
    Ok(conditions)
}

fn set_changes(at: At<'_>, set: &FilterSet, way: Way) -> Result<Vec<Change>, String> {
    at.knows(&set.unknown)?;
    let mut changes = Vec::new();
    changes.extend(set.local_pref.map(Change::LocalPref));
    changes.extend(set.med.map(Change::Med));
    if let Some(communities) = &set.communities {
        let place = format!("{}.communities", at.0);
        changes.extend(community_changes(At(&place), communities)?);
    }
    if let Some(prepend) = &set.prepend {
        let FilterPrepend {
            as_number,
            times,
            unknown,
        } = prepend;
        At(&format!("{}.prepend", at.0)).knows(unknown)?;
        changes.push(Change::Prepend(as_number.map(Asn), *times));
    }
    if let Some(next_hop) = &set.next_hop {
        let place = format!("{}.nextHop", at.0);
        changes.push(Change::NextHop(next_hop_change(At(&place), next_hop, way)?));
    }
    Ok(changes)
}

fn community_changes(
    at: At<'_>,
    communities: &FilterCommunityChange,
) -> Result<Vec<Change>, String> {
    at.knows(&communities.unknown)?;
    let mut changes = Vec::new();
    if let Some(texts) = &communities.replace {
        changes.push(CommunityChange::Replace(at.parse_all("replace", texts)?));
    }
    if let Some(texts) = &communities.remove {
        changes.push(CommunityChange::Remove(at.parse_all("remove", texts)?));
    }
    if let Some(texts) = &communities.add {
        changes.push(CommunityChange::Add(at.parse_all("add", texts)?));
    }
    Ok(changes.into_iter().map(Change::Communities).collect())
}

fn next_hop_change(
    at: At<'_>,
    next_hop: &FilterNextHop,
    way: Way,
) -> Result<NextHopChange, String> {
    at.knows(&next_hop.unknown)?;
    if next_hop.node {
        return match way {
            Way::Export => Ok(NextHopChange::Own),
            Way::Import => Err(at.refuse(
                "node",
                true,
                "a route whose next hop is the node itself leads nowhere; use it on export, or name an address",
            )),
        };
    }
    let unicast = |a: &IpAddr| !a.is_unspecified() && !a.is_multicast() && !a.is_loopback();
    let parse = |field: &str, text: &Option<String>| -> Result<Option<IpAddr>, String> {
        let remedy = "give a unicast IP address of that family";
        let Some(text) = text else { return Ok(None) };
        let address: IpAddr = at.parse(field, text, remedy)?;
        let fits = unicast(&address) && address.is_ipv4() == (field == "ipv4");
        fits.then_some(Some(address))
            .ok_or_else(|| at.refuse(field, text, remedy))
    };
    let (mut v4, mut v6) = (None, None);
    for address in [
        parse("ipv4", &next_hop.ipv4)?,
        parse("ipv6", &next_hop.ipv6)?,
    ] {
        match address {
            Some(IpAddr::V4(address)) => v4 = Some(address),
            Some(IpAddr::V6(address)) => v6 = Some(address),
            None => {}
        }
    }
    Ok(NextHopChange::Address(v4, v6))
}

fn asns(numbers: &[u32]) -> Vec<Asn> {
    numbers.iter().copied().map(Asn).collect()
}
