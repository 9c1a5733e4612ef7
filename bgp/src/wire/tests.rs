//! Octets as other implementations send them, every row of the error table, and properties over random octets.

mod capabilities;
mod errors;
mod messages;
mod properties;
mod vectors;

use super::*;
use crate::family::{Asn, Families, Family};
use ipnetwork::IpNetwork;

const EXTERNAL: Context = Context {
    four_octet_as: true,
    external: true,
    families: Families::BOTH,
};
const INTERNAL: Context = Context {
    external: false,
    ..EXTERNAL
};

const ENCODING: Encoding = Encoding {
    four_octet_as: true,
    extended_messages: false,
};

/// ORIGIN IGP.
const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
/// AS_PATH 65002.
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea];
/// NEXT_HOP 192.0.2.2.
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 2];
/// 10.0.0.0/8.
const TEN: &[u8] = &[8, 10];

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

/// The body of an UPDATE.
fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(withdrawn);
    body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    body.extend_from_slice(&attributes);
    body.extend_from_slice(nlri);
    body
}

fn announced(update: &Update) -> Vec<String> {
    let prefixes = update
        .announced
        .iter()
        .flat_map(|announcement| &announcement.prefixes);
    prefixes.map(|nlri| nlri.prefix.to_string()).collect()
}

fn withdrawn(update: &Update) -> Vec<String> {
    update
        .withdrawn
        .iter()
        .map(|nlri| nlri.prefix.to_string())
        .collect()
}

fn frames(bytes: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let mut framer = Framer::default();
    framer.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = framer.next_frame().unwrap() {
        frames.push((frame.kind, frame.body.to_vec()));
    }
    frames
}
