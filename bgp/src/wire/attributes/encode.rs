//! Attributes to octets, in ascending order of type (RFC 4271 §5).

use std::net::IpAddr;

use super::{Attributes, code};
use crate::family::Asn;

/// Writes every attribute except MP_REACH_NLRI; NEXT_HOP only when `classic_next_hop` says so.
pub(crate) fn attributes(
    attributes: &Attributes,
    classic_next_hop: bool,
    four_octet_as: bool,
    out: &mut Vec<u8>,
) {
    use code::{OPTIONAL, TRANSITIVE};
    attribute(out, TRANSITIVE, code::ORIGIN, &[attributes.origin as u8]);
    let mut path = Vec::new();
    attributes.as_path.encode(four_octet_as, &mut path);
    attribute(out, TRANSITIVE, code::AS_PATH, &path);
    if classic_next_hop
        && let Some(IpAddr::V4(address)) = attributes.next_hop.map(|next_hop| next_hop.address)
    {
        attribute(out, TRANSITIVE, code::NEXT_HOP, &address.octets());
    }
    if let Some(med) = attributes.med {
        attribute(out, OPTIONAL, code::MED, &med.to_be_bytes());
    }
    if let Some(local_pref) = attributes.local_pref {
        attribute(out, TRANSITIVE, code::LOCAL_PREF, &local_pref.to_be_bytes());
    }
    if attributes.atomic_aggregate {
        attribute(out, TRANSITIVE, code::ATOMIC_AGGREGATE, &[]);
    }
    aggregator(attributes, four_octet_as, out);
    list(
        out,
        OPTIONAL | TRANSITIVE,
        code::COMMUNITIES,
        &attributes.communities,
        |c| c.0.to_be_bytes(),
    );
    if let Some(originator) = attributes.originator_id {
        attribute(out, OPTIONAL, code::ORIGINATOR_ID, &originator.octets());
    }
    list(
        out,
        OPTIONAL,
        code::CLUSTER_LIST,
        &attributes.cluster_list,
        |id| id.octets(),
    );
    list(
        out,
        OPTIONAL | TRANSITIVE,
        code::EXTENDED_COMMUNITIES,
        &attributes.extended_communities,
        |c| *c,
    );
    if !four_octet_as {
        four_octet_remains(attributes, out);
    }
    list(
        out,
        OPTIONAL | TRANSITIVE,
        code::LARGE_COMMUNITIES,
        &attributes.large_communities,
        |c| {
            let mut octets = [0; 12];
            octets[..4].copy_from_slice(&c.0.to_be_bytes());
            octets[4..8].copy_from_slice(&c.1.to_be_bytes());
            octets[8..].copy_from_slice(&c.2.to_be_bytes());
            octets
        },
    );
    for unknown in &attributes.unknown {
        // RFC 4271 §5: Partial says that somebody on the way did not know the attribute.
        let partial = if unknown.code == code::IPV6_EXTENDED_COMMUNITIES {
            0
        } else {
            code::PARTIAL
        };
        attribute(out, unknown.flags | partial, unknown.code, &unknown.value);
    }
}

/// One attribute, with a length of one or two octets as it needs.
pub(crate) fn attribute(out: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    if let Ok(length) = u8::try_from(value.len()) {
        out.extend_from_slice(&[flags & !code::EXTENDED, kind, length]);
    } else {
        out.extend_from_slice(&[flags | code::EXTENDED, kind]);
        // A longer value than 65535 cannot be received, and what is built here is refused by `update` as too long.
        out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    out.extend_from_slice(value);
}

fn list<T, const N: usize>(
    out: &mut Vec<u8>,
    flags: u8,
    kind: u8,
    items: &[T],
    octets: impl Fn(&T) -> [u8; N],
) {
    if !items.is_empty() {
        let value: Vec<u8> = items.iter().flat_map(octets).collect();
        attribute(out, flags, kind, &value);
    }
}

fn aggregator(attributes: &Attributes, four_octet_as: bool, out: &mut Vec<u8>) {
    let Some(aggregator) = attributes.aggregator else {
        return;
    };
    let mut value = Vec::with_capacity(8);
    if four_octet_as {
        value.extend_from_slice(&aggregator.asn.0.to_be_bytes());
    } else {
        value.extend_from_slice(&aggregator.asn.two_octets().to_be_bytes());
    }
    value.extend_from_slice(&aggregator.address.octets());
    attribute(
        out,
        code::OPTIONAL | code::TRANSITIVE,
        code::AGGREGATOR,
        &value,
    );
}

/// AS4_PATH and AS4_AGGREGATOR for a two-octet speaker, only where they say more (RFC 6793 §4.2.2).
fn four_octet_remains(attributes: &Attributes, out: &mut Vec<u8>) {
    if attributes.as_path.needs_four_octets() {
        let mut path = Vec::new();
        attributes.as_path.encode(true, &mut path);
        attribute(
            out,
            code::OPTIONAL | code::TRANSITIVE,
            code::AS4_PATH,
            &path,
        );
    }
    if let Some(aggregator) = attributes.aggregator
        && aggregator.asn > Asn(u32::from(u16::MAX))
    {
        let mut value = aggregator.asn.0.to_be_bytes().to_vec();
        value.extend_from_slice(&aggregator.address.octets());
        attribute(
            out,
            code::OPTIONAL | code::TRANSITIVE,
            code::AS4_AGGREGATOR,
            &value,
        );
    }
}
