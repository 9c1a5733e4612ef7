//! Messages by hand: nothing here knows how the speaker writes or reads them.

/// Message types.
pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;
pub(crate) const REFRESH: u8 = 5;

/// ORIGIN IGP.
pub(crate) const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
/// AS_PATH 65002, four octets.
pub(crate) const PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea];
/// NEXT_HOP 192.0.2.2.
pub(crate) const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 2];
/// 10.0.0.0/8.
pub(crate) const TEN: &[u8] = &[8, 10];
/// 2001:db8::2.
pub(crate) const GLOBAL: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// fe80::2.
pub(crate) const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// fd00:2::/64.
pub(crate) const V6_PREFIX: &[u8] = &[64, 0xfd, 0, 0, 2, 0, 0, 0, 0];

/// A whole message.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend(((body.len() + 19) as u16).to_be_bytes());
    octets.push(kind);
    octets.extend(body);
    octets
}

pub(crate) fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

pub(crate) fn notification(code: u8, subcode: u8) -> Vec<u8> {
    message(NOTIFICATION, &[code, subcode])
}

pub(crate) fn refresh(afi: u16, subtype: u8, safi: u8) -> Vec<u8> {
    let [high, low] = afi.to_be_bytes();
    message(REFRESH, &[high, low, subtype, safi])
}

/// An OPEN, field by field.
#[derive(Clone)]
pub(crate) struct OpenFields {
    pub(crate) version: u8,
    pub(crate) asn: u16,
    pub(crate) hold_time: u16,
    pub(crate) id: [u8; 4],
    /// The optional parameters as they are.
    pub(crate) parameters: Vec<u8>,
}

/// As peer `number` of AS `asn` opens: both families, four-octet numbers, hold time 90 s, nothing else.
pub(crate) fn open_of(number: u8, asn: u32) -> OpenFields {
    OpenFields {
        version: 4,
        asn: u16::try_from(asn).unwrap_or(23456),
        hold_time: 90,
        id: [192, 0, 2, number],
        parameters: parameter(&[family(1), family(2), four_octets(asn)]),
    }
}

impl OpenFields {
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = vec![self.version];
        body.extend(self.asn.to_be_bytes());
        body.extend(self.hold_time.to_be_bytes());
        body.extend(self.id);
        body.push(self.parameters.len() as u8);
        body.extend(&self.parameters);
        message(OPEN, &body)
    }

    /// With these capabilities after the usual ones.
    pub(crate) fn and(mut self, capabilities: &[Vec<u8>]) -> Self {
        self.parameters.extend(parameter(capabilities));
        self
    }
}

/// One optional parameter with these capabilities.
pub(crate) fn parameter(capabilities: &[Vec<u8>]) -> Vec<u8> {
    let value = capabilities.concat();
    [&[2, value.len() as u8], &value[..]].concat()
}

pub(crate) fn capability(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, value.len() as u8], value].concat()
}

/// Unicast of an address family.
pub(crate) fn family(afi: u8) -> Vec<u8> {
    capability(1, &[0, afi, 0, 1])
}

pub(crate) fn four_octets(asn: u32) -> Vec<u8> {
    capability(65, &asn.to_be_bytes())
}

/// Graceful restart: flags and time as one field, then (address family, forwarding) of unicast families.
pub(crate) fn graceful(flags: u8, time: u16, families: &[(u8, bool)]) -> Vec<u8> {
    let [high, low] = time.to_be_bytes();
    let mut value = vec![flags | high, low];
    for (afi, forwarding) in families {
        value.extend([0, *afi, 1, if *forwarding { 0x80 } else { 0 }]);
    }
    capability(64, &value)
}

/// The R and N bits of [`graceful`].
pub(crate) const RESTARTING: u8 = 0x80;
pub(crate) const NOTIFYING: u8 = 0x40;

/// An UPDATE of its three parts.
pub(crate) fn update(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend(withdrawn);
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(&attributes);
    body.extend(nlri);
    message(UPDATE, &body)
}

/// An attribute; more than 255 octets get an extended length.
pub(crate) fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    match u8::try_from(value.len()) {
        Ok(length) => [&[flags, kind, length], value].concat(),
        Err(_) => {
            let [high, low] = (value.len() as u16).to_be_bytes();
            [&[flags | 0x10, kind, high, low], value].concat()
        }
    }
}

/// AS_PATH of one sequence.
pub(crate) fn path(asns: &[u32]) -> Vec<u8> {
    let mut value = vec![2, asns.len() as u8];
    asns.iter().for_each(|asn| value.extend(asn.to_be_bytes()));
    attribute(0x40, 2, &value)
}

/// MP_REACH_NLRI of a unicast family.
pub(crate) fn reach(afi: u8, next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    let head = [0, afi, 1, next_hop.len() as u8];
    attribute(0x80, 14, &[&head, next_hop, &[0], nlri].concat())
}

/// MP_UNREACH_NLRI of a unicast family.
pub(crate) fn unreach(afi: u8, nlri: &[u8]) -> Vec<u8> {
    attribute(0x80, 15, &[&[0, afi, 1], nlri].concat())
}

/// 10.0.0.0/8 as everybody sends it.
pub(crate) fn good_update() -> Vec<u8> {
    update(&[], &[ORIGIN, PATH, NEXT_HOP], TEN)
}
