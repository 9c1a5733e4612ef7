//! Flows of an address that has a new owner are forgotten.
//!
//! A packet of a flow that connection tracking knows passes policy unseen. A flow of the address's last owner would so reach its
//! next one, for as long as the other end goes on sending: UDP asks nobody. Deleted, its next packet is a first one again.
//!
//! The flows of an address are those that it began (`src` of the original direction) and those that it answers (`src` of the reply);
//! that is all of them, whatever was translated. For IPv4 the kernel is asked for just these (Linux 5.8; an older one sends
//! everything, and what does not fit is left out here). Not so for IPv6: there its filter lets through all *but* the address
//! (seen on 6.18: `ctnetlink_filter_match_tuple` takes `ipv6_addr_cmp` for true when equal), so everything is asked for.

use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::error::Error;
use super::netlink::Socket;
use super::netlink::message::{Attributes, Message, family_of, ip};

/// `NFNL_SUBSYS_CTNETLINK << 8` and `IPCTNL_MSG_CT_GET`, `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
/// Length of `struct nfgenmsg`.
const FAMILY_HEADER: usize = 4;

// From linux/netfilter/nfnetlink_conntrack.h.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_FILTER_IP_SRC: u32 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;

/// Deletes every flow of these addresses; says how many there were.
///
/// # Errors
/// When connection tracking cannot be asked: the kernel has no `nf_conntrack_netlink`.
pub async fn forget(addresses: Vec<IpAddr>) -> Result<usize, Error> {
    tokio::task::spawn_blocking(move || forget_now(&addresses))
        .await
        .map_err(|e| Error::io("conntrack", std::io::Error::other(e)))?
}

fn forget_now(addresses: &[IpAddr]) -> Result<usize, Error> {
    let mut socket = Socket::open_on(NETLINK_NETFILTER)?;
    let mut deletions = Vec::new();
    for address in addresses {
        for request in requests(*address) {
            let of_address = |_, payload: &[u8]| deletion(*address, payload);
            deletions.extend(socket.dump("conntrack", &request, of_address)?);
        }
    }
    let refusals = socket
        .batch(&deletions)
        .map_err(|e| Error::io("conntrack", e))?;
    let gone = |errno| errno == Errno::ENOENT;
    match refusals.into_iter().flatten().find(|r| !gone(r.errno)) {
        Some(refusal) => Err(refusal.of("conntrack")),
        None => Ok(deletions.len()),
    }
}

/// What lists at least the flows of the address.
fn requests(address: IpAddr) -> Vec<Message> {
    let all = Message::new(GET, 0).raw(&[family_of(address), 0, 0, 0]);
    if address.is_ipv6() {
        return vec![all];
    }
    let directions = [
        (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
        (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
    ];
    let from_address = |(tuple, flags)| {
        let of_tuple =
            |inside: Message| inside.nest(CTA_TUPLE_IP, |inside| inside.ip(CTA_IP_V4_SRC, address));
        all.clone()
            .nest(tuple, of_tuple)
            .nest(CTA_FILTER, |inside| inside.u32(flags, CTA_FILTER_IP_SRC))
    };
    directions.map(from_address).into()
}

/// Deletes a listed flow, and no later one with the same tuples; none when it is not the address's.
fn deletion(address: IpAddr, payload: &[u8]) -> Option<Message> {
    let attributes = Attributes::after(payload, FAMILY_HEADER);
    let is_source = |tuple| source(attributes, tuple) == Some(address);
    if ![CTA_TUPLE_ORIG, CTA_TUPLE_REPLY].into_iter().any(is_source) {
        return None;
    }
    let original = attributes.find(CTA_TUPLE_ORIG)?;
    let mut delete = Message::new(DELETE, 0)
        .raw(&[family_of(address), 0, 0, 0])
        .nest(CTA_TUPLE_ORIG, |inside| inside.raw(original));
    for kind in [CTA_ID, CTA_ZONE] {
        if let Some(value) = attributes.find(kind) {
            delete = delete.attr(kind, value);
        }
    }
    Some(delete)
}

/// Where the packets of a flow's direction come from.
fn source(flow: Attributes<'_>, tuple: u16) -> Option<IpAddr> {
    let addresses = Attributes(Attributes(flow.find(tuple)?).find(CTA_TUPLE_IP)?);
    let source = addresses.find(CTA_IP_V4_SRC);
    source
        .or_else(|| addresses.find(CTA_IP_V6_SRC))
        .and_then(ip)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::super::testnet::{ip as ip_tool, isolated, output};
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Flows between addresses of `lo`, as /proc shows them: from which to which.
    fn flow(from: &str, to: &str) {
        let socket = |at: &str, port| UdpSocket::bind((address(at), port)).unwrap();
        let (client, server) = (socket(from, 0), socket(to, 53));
        client.send_to(b"?", server.local_addr().unwrap()).unwrap();
        let (_, back) = server.recv_from(&mut [0; 8]).unwrap();
        server.send_to(b"!", back).unwrap();
        client.recv_from(&mut [0; 8]).unwrap();
    }

    /// The kernel's own list, not asked over netlink.
    fn listed(from: &str, to: &str) -> bool {
        let list = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
        let full = |text: &str| match address(text) {
            IpAddr::V4(four) => four.to_string(),
            IpAddr::V6(six) => six.segments().map(|part| format!("{part:04x}")).join(":"),
        };
        let flow = format!("src={} dst={} ", full(from), full(to));
        list.lines().any(|line| line.contains(&flow))
    }

    #[test]
    fn all_flows_of_an_address_and_no_others_are_forgotten() {
        isolated(|| async {
            let rules = "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new accept";
            let done = std::process::Command::new("nft").arg(rules).status();
            assert!(done.unwrap().success());
            for host in 1..5 {
                ip_tool(&format!("address add 10.0.0.{host}/32 dev lo"));
                ip_tool(&format!("address add fd00::{host}/128 dev lo nodad"));
            }
            for net in ["10.0.0.", "fd00::"] {
                let at = |host: u8| format!("{net}{host}");
                for (from, to) in [(1, 2), (3, 1), (3, 2), (1, 4)] {
                    flow(&at(from), &at(to));
                    assert!(
                        listed(&at(from), &at(to)),
                        "{net} {from} to {to}\n{}",
                        output("conntrack -L").1
                    );
                }
                assert_eq!(forget(vec![address(&at(1))]).await.unwrap(), 3);
                for (from, to, stays) in [(1, 2, false), (3, 1, false), (3, 2, true), (1, 4, false)]
                {
                    assert_eq!(listed(&at(from), &at(to)), stays, "{net} {from} to {to}");
                }
                assert_eq!(forget(vec![address(&at(1))]).await.unwrap(), 0);
            }
            let both = vec![address("10.0.0.2"), address("fd00::2")];
            assert_eq!(forget(both).await.unwrap(), 2);
            assert_eq!(forget(Vec::new()).await.unwrap(), 0);
        });
    }
}
