//! ROUTE-REFRESH (RFC 2918 §3, RFC 7313 §3.2): a request, or the beginning or the end of what it brings.

use super::reader::Reader;
use super::{HEADER_LENGTH, Kind, Notification};
use crate::family::Family;

/// What a ROUTE-REFRESH says about its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refresh {
    /// Tell me everything again.
    Request = 0,
    /// Everything comes again from here (BoRR)...
    Begin = 1,
    /// ...to here (EoRR); what did not come is gone.
    End = 2,
}

/// Writes a complete ROUTE-REFRESH.
pub fn encode_route_refresh(family: Family, refresh: Refresh) -> Vec<u8> {
    super::message(Kind::RouteRefresh, |out| {
        let [a, b] = family.afi().to_be_bytes();
        out.extend_from_slice(&[a, b, refresh as u8, family.safi()]);
    })
}

/// What a ROUTE-REFRESH says; `None` when it is for a family or of a subtype that nobody knows.
///
/// # Errors
/// 7/1 with the message for a beginning or an end that is longer than it may be (RFC 7313 §5).
pub fn decode_route_refresh(body: &[u8]) -> Result<Option<(Family, Refresh)>, Notification> {
    let mut reader = Reader::new(body);
    let Some([a, b, subtype, safi]) = reader.array() else {
        return Ok(None);
    };
    let family = Family::from_wire(u16::from_be_bytes([a, b]), safi);
    let refresh = match subtype {
        // Longer ones carry route filters (RFC 5291), which nobody negotiates here.
        0 if reader.is_empty() => Refresh::Request,
        1 | 2 if !reader.is_empty() => return Err(too_long(body)),
        1 => Refresh::Begin,
        2 => Refresh::End,
        _ => return Ok(None),
    };
    Ok(family.map(|family| (family, refresh)))
}

fn too_long(body: &[u8]) -> Notification {
    let mut message = vec![0xff; 16];
    message.extend_from_slice(&((HEADER_LENGTH + body.len()) as u16).to_be_bytes());
    message.push(Kind::RouteRefresh as u8);
    message.extend_from_slice(body);
    Notification::with_data(Notification::REFRESH, 1, message)
}
