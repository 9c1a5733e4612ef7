//! What rules ask: of the peer, and of the route.

use super::place::Place;
use ipnetwork::IpNetwork;
use margay_bgp::{Asn, Condition, PathPattern, PeerCondition, PrefixRange, RouteSource};
use margay_proto::crd::{
    FilterCommunities, FilterMatch, FilterPath, FilterPeer, FilterPeerType, FilterPrefix,
    FilterSource,
};

pub(super) fn peer_conditions(at: &Place, peer: &FilterPeer) -> Result<Vec<PeerCondition>, String> {
    at.knows(&peer.unknown)?;
    let mut conditions = Vec::new();
    if let Some(addresses) = &peer.addresses {
        conditions.push(PeerCondition::Address(at.networks("addresses", addresses)?));
    }
    if let Some(numbers) = &peer.as_numbers {
        conditions.push(PeerCondition::As(asns(at.some("asNumbers", numbers)?)));
    }
    if let Some(interfaces) = &peer.interfaces {
        let names = at.some("interfaces", interfaces)?.iter();
        let name = |text: &String| interface(at, text);
        conditions.push(PeerCondition::Link(
            names.map(name).collect::<Result<_, _>>()?,
        ));
    }
    match peer.kind {
        None => {}
        Some(FilterPeerType::Internal) => conditions.push(PeerCondition::External(false)),
        Some(FilterPeerType::External) => conditions.push(PeerCondition::External(true)),
        Some(FilterPeerType::Unknown) => return Err(at.newer("type")),
    }
    Ok(conditions)
}

/// The name of a link (at most 15 octets, without `/` or white space), or how such names begin and a `*`.
fn interface(at: &Place, text: &str) -> Result<String, String> {
    let name = text.strip_suffix('*').unwrap_or(text);
    let strange = |c: char| c == '/' || c == '*' || c.is_whitespace() || c.is_control();
    if text.is_empty() || name.len() > 15 || name.contains(strange) {
        return Err(at.refuse(
            "interfaces",
            text,
            "give the name of a network interface, such as eth0, or how it begins, such as bond*",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn route_conditions(
    at: &Place,
    matches: &FilterMatch,
) -> Result<Vec<Condition>, String> {
    at.knows(&matches.unknown)?;
    let mut conditions = Vec::new();
    if let Some(prefixes) = &matches.prefixes {
        let range = |p: &FilterPrefix| range(&at.inside("prefixes[]"), p);
        let prefixes = at.some("prefixes", prefixes)?.iter();
        conditions.push(Condition::Prefix(
            prefixes.map(range).collect::<Result<_, _>>()?,
        ));
    }
    if let Some(next_hops) = &matches.next_hops {
        conditions.push(Condition::NextHop(at.networks("nextHops", next_hops)?));
    }
    if let Some(sources) = &matches.sources {
        let source = |s: &FilterSource| source(*s).ok_or_else(|| at.newer("sources"));
        let sources = at.some("sources", sources)?.iter();
        conditions.push(Condition::Source(
            sources.map(source).collect::<Result<_, _>>()?,
        ));
    }
    if let Some(communities) = &matches.communities {
        conditions.extend(community_conditions(
            &at.inside("communities"),
            communities,
        )?);
    }
    if let Some(path) = &matches.as_path {
        conditions.extend(path_conditions(&at.inside("asPath"), path)?);
    }
    Ok(conditions)
}

fn range(at: &Place, given: &FilterPrefix) -> Result<PrefixRange, String> {
    at.knows(&given.unknown)?;
    let remedy = "give a network in CIDR notation";
    let prefix: IpNetwork = at.parse("prefix", &given.prefix, remedy)?;
    if prefix.ip() != prefix.network() {
        let network = format!("{}/{}", prefix.network(), prefix.prefix());
        return Err(at.refuse("prefix", prefix, format!("has host bits; write {network}")));
    }
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
    at: &Place,
    communities: &FilterCommunities,
) -> Result<Vec<Condition>, String> {
    at.knows(&communities.unknown)?;
    let patterns = |field: &str, texts: &[String]| at.parse_all(field, at.some(field, texts)?);
    let mut conditions = Vec::new();
    if let Some(any) = &communities.any_of {
        conditions.push(Condition::AnyCommunity(patterns("anyOf", any)?));
    }
    if let Some(all) = &communities.all_of {
        conditions.push(Condition::AllCommunities(patterns("allOf", all)?));
    }
    if let Some(none) = &communities.none_of {
        conditions.push(Condition::NoCommunity(patterns("noneOf", none)?));
    }
    Ok(conditions)
}

fn path_conditions(at: &Place, path: &FilterPath) -> Result<Vec<Condition>, String> {
    at.knows(&path.unknown)?;
    let mut conditions = Vec::new();
    if let Some(origin) = &path.origin_as {
        conditions.push(Condition::OriginAs(asns(at.some("originAS", origin)?)));
    }
    if let Some(neighbour) = &path.neighbour_as {
        let neighbour = at.some("neighbourAS", neighbour)?;
        conditions.push(Condition::NeighbourAs(asns(neighbour)));
    }
    if path.min_length.is_some() || path.max_length.is_some() {
        let least = path.min_length.map_or(0, usize::from);
        let most = path.max_length.map_or(usize::MAX, usize::from);
        if least > most {
            let remedy = format!("it exceeds the longest length {most}; correct one of them");
            return Err(at.refuse("minLength", least, remedy));
        }
        conditions.push(Condition::PathLength(least, most));
    }
    if let Some(regex) = &path.regex {
        let pattern = PathPattern::new(regex).map_err(|e| at.refuse("regex", regex, e))?;
        conditions.push(Condition::Path(pattern));
    }
    Ok(conditions)
}

fn asns(numbers: &[u32]) -> Vec<Asn> {
    numbers.iter().copied().map(Asn).collect()
}
