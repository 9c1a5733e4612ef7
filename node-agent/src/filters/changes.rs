//! What rules do to a route.

use super::Way;
use super::place::Place;
use margay_bgp::{Asn, Change, CommunityChange, NextHopChange};
use margay_proto::crd::{FilterCommunityChange, FilterNextHop, FilterPrepend, FilterSet};
use std::net::IpAddr;

pub(super) fn set_changes(at: &Place, set: &FilterSet, way: Way) -> Result<Vec<Change>, String> {
    at.knows(&set.unknown)?;
    let mut changes = Vec::new();
    changes.extend(set.local_pref.map(Change::LocalPref));
    changes.extend(set.med.map(Change::Med));
    if let Some(communities) = &set.communities {
        changes.extend(community_changes(&at.inside("communities"), communities)?);
    }
    if let Some(prepend) = &set.prepend {
        changes.push(prepend_change(&at.inside("prepend"), prepend)?);
    }
    if let Some(next_hop) = &set.next_hop {
        let change = next_hop_change(&at.inside("nextHop"), next_hop, way)?;
        changes.push(Change::NextHop(change));
    }
    Ok(changes)
}

fn community_changes(
    at: &Place,
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

fn prepend_change(at: &Place, prepend: &FilterPrepend) -> Result<Change, String> {
    at.knows(&prepend.unknown)?;
    if let Some(reserved @ (0 | u32::MAX)) = prepend.as_number {
        return Err(at.refuse(
            "asNumber",
            reserved,
            "no AS has this number (RFC 7607, RFC 7300)",
        ));
    }
    if !(1..=16).contains(&prepend.times) {
        return Err(at.refuse("times", prepend.times, "give 1 to 16"));
    }
    Ok(Change::Prepend(prepend.as_number.map(Asn), prepend.times))
}

fn next_hop_change(
    at: &Place,
    next_hop: &FilterNextHop,
    way: Way,
) -> Result<NextHopChange, String> {
    at.knows(&next_hop.unknown)?;
    let named = next_hop.ipv4.is_some() || next_hop.ipv6.is_some();
    if named == next_hop.node {
        let remedy = "give either `true`, for this speaker itself, or ipv4, ipv6 or both";
        return Err(at.refuse("node", next_hop.node, remedy));
    }
    if next_hop.node && way == Way::Import {
        let remedy = "a route whose next hop is the node itself leads nowhere; use it on export, or name an address";
        return Err(at.refuse("node", true, remedy));
    }
    if next_hop.node {
        return Ok(NextHopChange::Own);
    }
    let v4 = match address(at, "ipv4", next_hop.ipv4.as_deref())? {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let v6 = match address(at, "ipv6", next_hop.ipv6.as_deref())? {
        Some(IpAddr::V6(address)) => Some(address),
        _ => None,
    };
    Ok(NextHopChange::Address(v4, v6))
}

/// A next hop of the family that `field` names.
fn address(at: &Place, field: &str, text: Option<&str>) -> Result<Option<IpAddr>, String> {
    let remedy = "give a unicast IP address of that family, not a link-local one";
    let Some(text) = text else { return Ok(None) };
    let address: IpAddr = at.parse(field, text, remedy)?;
    let passing = match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let unusable = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    let fits = address.is_ipv4() == (field == "ipv4");
    if !fits || passing || unusable {
        return Err(at.refuse(field, text, remedy));
    }
    Ok(Some(address))
}
