//! Rules as the kernel's expressions: small steps over sixteen 32-bit registers.
//!
//! The lowering of each match and action is written down at [`Match`] and [`Action`]; whoever changes it here changes
//! `margay_policy::table::rule::ENCODING`, so that the rules of an older agent are replaced.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use margay_policy::table::{
    Action, CtState, Family, LinkPattern, Match, PortRange, Protocol, Rule, SetName, Side, Verdict,
    VmapKey,
};

use super::message::Attributes;

/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;
/// `NFT_REG32_00`, the first data register.
const FIRST: Register = Register(8);

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;

const ICMPV6: u8 = 58;
const IFNAME_LENGTH: u32 = 16;
/// `NFT_LOOKUP_F_INV`.
const INVERTED: u32 = 1;

/// A 32-bit register.
#[derive(Clone, Copy)]
struct Register(u32);

impl Register {
    /// The first register behind a value of this length that begins here.
    fn after(self, length: u32) -> Self {
        Self(self.0 + length.div_ceil(4))
    }
}

/// `enum nft_cmp_ops`.
#[derive(Clone, Copy)]
enum Compare {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// `enum nft_payload_bases`.
#[derive(Clone, Copy)]
enum Header {
    Network = 1,
    Transport = 2,
}

/// The content of `NFTA_RULE_EXPRESSIONS`.
pub(super) fn rule(rule: &Rule, into: &mut Attributes<'_>) {
    let mut expressions = Expressions(into);
    rule.matches
        .iter()
        .for_each(|one| expressions.matching(one));
    rule.actions.iter().for_each(|one| expressions.action(one));
}

/// `NFTA_DATA_VERDICT`, inside the data of an immediate or of a map's element.
pub(super) fn verdict(verdict: &Verdict, data: &mut Attributes<'_>) {
    let code = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Jump(_) => -3,
        Verdict::Goto(_) => -4,
        Verdict::Return => -5,
    };
    data.nest(NFTA_DATA_VERDICT, |verdict_data| {
        verdict_data.i32(1, code);
        if let Some(chain) = verdict.target() {
            verdict_data.text(2, chain.as_str());
        }
    });
}

/// `NFTA_DATA_VALUE`.
pub(super) fn value(bytes: &[u8], data: &mut Attributes<'_>) {
    data.bytes(NFTA_DATA_VALUE, bytes);
}

struct Expressions<'a, 'b>(&'a mut Attributes<'b>);

impl Expressions<'_, '_> {
    fn matching(&mut self, one: &Match) {
        match one {
            Match::Iifname(pattern) => self.link(META_IIFNAME, pattern),
            Match::Oifname(pattern) => self.link(META_OIFNAME, pattern),
            Match::LinkPairIn(set) => {
                self.meta(META_IIFNAME, FIRST);
                self.meta(META_OIFNAME, FIRST.after(IFNAME_LENGTH));
                self.lookup(set, 0);
            }
            Match::LinkSourceIn(family, set) => {
                self.family(*family);
                self.meta(META_IIFNAME, FIRST);
                self.address(Side::Source, *family, FIRST.after(IFNAME_LENGTH));
                self.lookup(set, 0);
            }
            Match::AddressIn {
                side,
                family,
                set,
                inverted,
            } => {
                self.family(*family);
                self.address(*side, *family, FIRST);
                self.lookup(set, if *inverted { INVERTED } else { 0 });
            }
            Match::AddressIs { side, network } => self.network(*side, *network),
            Match::ServiceIn(family, set) => {
                self.family(*family);
                self.address(Side::Destination, *family, FIRST);
                self.service(FIRST.after(address_length(*family)));
                self.lookup(set, 0);
            }
            Match::Nfproto(family) => self.family(*family),
            Match::L4proto(protocol) => self.protocol(*protocol),
            Match::Dport(range) => self.port(*range),
            Match::CtState(states) => self.state(*states),
            Match::Icmpv6Type(first, last) => {
                self.meta(META_L4PROTO, FIRST);
                self.compare(Compare::Equal, &[ICMPV6]);
                self.payload(Header::Transport, 0, 1, FIRST);
                self.compare(Compare::AtLeast, &[*first]);
                self.compare(Compare::AtMost, &[*last]);
            }
        }
    }

    fn action(&mut self, one: &Action) {
        match one {
            Action::Counter => self.expression("counter", |_| {}),
            Action::Verdict(reached) => self.expression("immediate", |data| {
                data.u32(1, VERDICT);
                data.nest(2, |data| verdict(reached, data));
            }),
            Action::Vmap { key, map } => {
                match key {
                    VmapKey::Iifname => self.meta(META_IIFNAME, FIRST),
                    VmapKey::Oifname => self.meta(META_OIFNAME, FIRST),
                    VmapKey::ProtoPort => self.service(FIRST),
                }
                self.expression("lookup", |data| {
                    data.text(1, map.as_str());
                    data.u32(2, FIRST.0);
                    data.u32(3, VERDICT);
                });
            }
            Action::Snat(address) => self.snat(*address),
        }
    }

    fn link(&mut self, key: u32, pattern: &LinkPattern) {
        self.meta(key, FIRST);
        match pattern {
            LinkPattern::Is(link) => self.compare(Compare::Equal, link.bytes()),
            LinkPattern::StartsWith(prefix) => {
                self.compare(Compare::Equal, prefix.as_str().as_bytes())
            }
        }
    }

    fn family(&mut self, family: Family) {
        self.meta(META_NFPROTO, FIRST);
        self.compare(Compare::Equal, &[nfproto(family)]);
    }

    fn protocol(&mut self, protocol: Protocol) {
        self.meta(META_L4PROTO, FIRST);
        self.compare(Compare::Equal, &[protocol.number()]);
    }

    fn network(&mut self, side: Side, network: IpNetwork) {
        let family = Family::from(network.ip());
        self.family(family);
        self.address(side, family, FIRST);
        let (address, mask, is_host) = match network {
            IpNetwork::V4(v4) => (
                v4.network().octets().to_vec(),
                v4.mask().octets().to_vec(),
                v4.prefix() == 32,
            ),
            IpNetwork::V6(v6) => (
                v6.network().octets().to_vec(),
                v6.mask().octets().to_vec(),
                v6.prefix() == 128,
            ),
        };
        if !is_host {
            self.mask(&mask);
        }
        self.compare(Compare::Equal, &address);
    }

    fn port(&mut self, range: PortRange) {
        self.payload(Header::Transport, 2, 2, FIRST);
        if range.is_single() {
            self.compare(Compare::Equal, &range.first.to_be_bytes());
        } else {
            self.compare(Compare::AtLeast, &range.first.to_be_bytes());
            self.compare(Compare::AtMost, &range.last.to_be_bytes());
        }
    }

    /// Connection tracking bits are the one value here in the host's byte order.
    fn state(&mut self, states: CtState) {
        self.expression("ct", |data| {
            data.u32(1, FIRST.0);
            data.u32(2, CT_STATE);
        });
        self.mask(&states.bits().to_ne_bytes());
        self.compare(Compare::NotEqual, &[0; 4]);
    }

    /// `meta l4proto . th dport`
    fn service(&mut self, register: Register) {
        self.meta(META_L4PROTO, register);
        self.payload(Header::Transport, 2, 2, register.after(1));
    }

    fn address(&mut self, side: Side, family: Family, register: Register) {
        let offset = match (family, side) {
            (Family::V4, Side::Source) => 12,
            (Family::V4, Side::Destination) => 16,
            (Family::V6, Side::Source) => 8,
            (Family::V6, Side::Destination) => 24,
        };
        self.payload(Header::Network, offset, address_length(family), register);
    }

    fn snat(&mut self, address: IpAddr) {
        self.expression("immediate", |data| {
            data.u32(1, FIRST.0);
            data.nest(2, |data| match address {
                IpAddr::V4(v4) => value(&v4.octets(), data),
                IpAddr::V6(v6) => value(&v6.octets(), data),
            });
        });
        self.expression("nat", |data| {
            // NFT_NAT_SNAT
            data.u32(1, 0);
            data.u32(2, u32::from(nfproto(Family::from(address))));
            data.u32(3, FIRST.0);
            data.u32(4, FIRST.0);
        });
    }

    fn meta(&mut self, key: u32, register: Register) {
        self.expression("meta", |data| {
            data.u32(1, register.0);
            data.u32(2, key);
        });
    }

    fn payload(&mut self, header: Header, offset: u32, length: u32, register: Register) {
        self.expression("payload", |data| {
            data.u32(1, register.0);
            data.u32(2, header as u32);
            data.u32(3, offset);
            data.u32(4, length);
        });
    }

    fn compare(&mut self, operation: Compare, with: &[u8]) {
        self.expression("cmp", |data| {
            data.u32(1, FIRST.0);
            data.u32(2, operation as u32);
            data.nest(3, |data| value(with, data));
        });
    }

    /// `register = register & mask`
    fn mask(&mut self, mask: &[u8]) {
        let length = if mask.len() == 4 { 4 } else { 16 };
        self.expression("bitwise", |data| {
            data.u32(1, FIRST.0);
            data.u32(2, FIRST.0);
            data.u32(3, length);
            data.nest(4, |data| value(mask, data));
            data.nest(5, |data| value(&[0; 16][..mask.len()], data));
        });
    }

    fn lookup(&mut self, set: &SetName, flags: u32) {
        self.expression("lookup", |data| {
            data.text(1, set.as_str());
            data.u32(2, FIRST.0);
            if flags != 0 {
                data.u32(5, flags);
            }
        });
    }

    /// One element of the list: its name, and its own attributes.
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
        self.0.nest(NFTA_LIST_ELEM, |element| {
            element.text(1, name);
            element.nest(2, data);
        });
    }
}

/// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn address_length(family: Family) -> u32 {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}
