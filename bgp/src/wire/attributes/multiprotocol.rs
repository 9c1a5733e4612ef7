//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760 §3, §4; RFC 2545): what cannot be read here ends the session, because
//! the prefixes are inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::nlri::{self, Nlri};
use super::super::reader::Reader;
use super::super::{Context, Notification};
use super::NextHop;
use crate::family::Family;

/// MP_REACH_NLRI of a family that was negotiated.
#[derive(Debug)]
pub(crate) struct MpReach {
    pub(crate) next_hop: NextHop,
    pub(crate) prefixes: Vec<Nlri>,
}

/// `Ok(None)`: a family that was not negotiated; nothing of it is applied.
pub(super) fn reach(value: &[u8], context: &Context) -> Result<Option<MpReach>, Notification> {
    let malformed = || Notification::new(Notification::UPDATE, 9);
    let mut reader = Reader::new(value);
    let afi = reader.u16().ok_or_else(malformed)?;
    let safi = reader.u8().ok_or_else(malformed)?;
    let length = reader.u8().ok_or_else(malformed)?;
    let address = reader.take(usize::from(length)).ok_or_else(malformed)?;
    // Reserved; once a count of SNPAs, to be ignored (RFC 4760 §3).
    reader.u8().ok_or_else(malformed)?;
    let Some(family) = Family::from_wire(afi, safi).filter(|family| context.families[*family])
    else {
        return Ok(None);
    };
    let next_hop = next_hop(family, address).ok_or_else(malformed)?;
    Ok(Some(MpReach {
        next_hop,
        prefixes: nlri::decode(family, reader.rest())?,
    }))
}

/// The next hop's *length* decides about a reset; its value is judged by [`next_hop_is_usable`].
fn next_hop(family: Family, octets: &[u8]) -> Option<NextHop> {
    let mut reader = Reader::new(octets);
    match (family, octets.len()) {
        (Family::Ipv4Unicast, 4) => Some(IpAddr::V4(reader.ipv4()?).into()),
        (Family::Ipv6Unicast, 16) => Some(IpAddr::V6(reader.ipv6()?).into()),
        (Family::Ipv6Unicast, 32) => {
            let (global, link_local) = (reader.ipv6()?, reader.ipv6()?);
            if global.is_unspecified() && link_local.is_unicast_link_local() {
                return Some(IpAddr::V6(link_local).into());
            }
            let link_local = Some(link_local).filter(Ipv6Addr::is_unicast_link_local);
            Some(NextHop {
                address: IpAddr::V6(global),
                link_local,
            })
        }
        _ => None,
    }
}

pub(super) fn unreach(
    value: &[u8],
    context: &Context,
) -> Result<Option<(Family, Vec<Nlri>)>, Notification> {
    let malformed = || Notification::new(Notification::UPDATE, 9);
    let mut reader = Reader::new(value);
    let afi = reader.u16().ok_or_else(malformed)?;
    let safi = reader.u8().ok_or_else(malformed)?;
    let Some(family) = Family::from_wire(afi, safi).filter(|family| context.families[*family])
    else {
        return Ok(None);
    };
    Ok(Some((family, nlri::decode(family, reader.rest())?)))
}

pub(super) fn usable_v4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

fn usable_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// Whether packets can be sent to the next hop at all; if not, the routes are treated as withdrawn.
pub(crate) fn next_hop_is_usable(next_hop: NextHop) -> bool {
    match next_hop.address {
        IpAddr::V4(address) => usable_v4(address),
        IpAddr::V6(address) => usable_v6(address),
    }
}
