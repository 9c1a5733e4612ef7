//! Flows of an address that has a new owner are forgotten.
//!
//! A packet of a flow that connection tracking knows passes policy unseen. A flow of the address's last owner would so reach its
//! next one, for as long as the other end goes on sending: UDP asks nobody. Deleted, its next packet is a first one again.
//!
//! The flows of an address are those that it began (`src` of the original direction) and those that it answers (`src` of the reply);
//! that is all of them, whatever was translated. The kernel finds them by walking its whole hash table (14 ms with 262,144 buckets on
//! one core, however few the flows), so those who come while it is walked are served by the next walk together.
//!
//! A walk may be told to list one IPv4 source only (Linux 5.8; an older one sends everything, and what does not fit is left out here),
//! which pays when there are very many flows. Not so for IPv6: there its filter lets through all *but* the address (seen on 6.18:
//! `ctnetlink_filter_match_tuple` takes `ipv6_addr_cmp` for true when equal).

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use nix::errno::Errno;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use tokio::sync::{mpsc, oneshot};

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

/// How many flows are listed in the time of a walk over an empty table (measured: 15,000 to 20,000).
const FLOWS_A_WALK: usize = 15_000;
/// How many flows this network namespace has, of both families.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Who forgets flows; clones share one queue.
#[derive(Clone, Debug)]
pub struct Flows {
    queue: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    addresses: Vec<IpAddr>,
    reply: oneshot::Sender<Result<(), Arc<Error>>>,
}

impl Flows {
    /// Starts the task that forgets; it ends with the last clone. What it does belongs to the network namespace of the runtime's threads.
    pub fn start() -> Self {
        let (queue, requests) = mpsc::channel(256);
        tokio::spawn(serve(requests));
        Self { queue }
    }

    /// Deletes every flow of these addresses.
    ///
    /// # Errors
    /// When connection tracking cannot be asked: the kernel has no `nf_conntrack_netlink`.
    pub async fn forget(&self, addresses: Vec<IpAddr>) -> Result<(), Arc<Error>> {
        let (reply, done) = oneshot::channel();
        let ended = || {
            let why = std::io::Error::other("the agent is ending");
            Arc::new(Error::io("conntrack", why))
        };
        let request = Request { addresses, reply };
        self.queue.send(request).await.map_err(|_| ended())?;
        done.await.map_err(|_| ended())?
    }
}

/// One walk after the other, each for all who asked since the last one began.
async fn serve(mut requests: mpsc::Receiver<Request>) {
    let mut asked = Vec::new();
    while requests.recv_many(&mut asked, usize::MAX).await > 0 {
        let addresses: BTreeSet<IpAddr> =
            asked.iter().flat_map(|r| &r.addresses).copied().collect();
        let result = tokio::task::spawn_blocking(move || forget(&addresses, flows()))
            .await
            .unwrap_or_else(|e| Err(Error::io("conntrack", std::io::Error::other(e))))
            .map(drop)
            .map_err(Arc::new);
        for request in asked.drain(..) {
            // Who gave up undoes what it began.
            let _ = request.reply.send(result.clone());
        }
    }
}

/// Deletes the flows of the addresses, out of about `flows`; says how many it deleted.
fn forget(addresses: &BTreeSet<IpAddr>, flows: usize) -> Result<usize, Error> {
    let mut socket = Socket::open_on(NETLINK_NETFILTER)?;
    let mut deletions = Vec::new();
    for request in lists(addresses, flows) {
        deletions.extend(socket.dump("conntrack", &request, |_, flow| deletion(addresses, flow))?);
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

/// How many flows there are; none where the kernel does not say.
fn flows() -> usize {
    let count = std::fs::read_to_string(COUNT).unwrap_or_default();
    count.trim().parse().unwrap_or_default()
}

/// What lists at least the flows of the addresses, of `flows` that there are.
fn lists(addresses: &BTreeSet<IpAddr>, flows: usize) -> Vec<Message> {
    let all = |family| Message::new(GET, 0).raw(&[family, 0, 0, 0]);
    let four = || addresses.iter().filter(|a| a.is_ipv4());
    if addresses.is_empty() {
        return Vec::new();
    }
    if flows < 2 * four().count() * FLOWS_A_WALK {
        return vec![all(libc::AF_UNSPEC as u8)];
    }
    let directions = [
        (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
        (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
    ];
    let of_source = |address: &IpAddr| {
        directions.map(|(tuple, flags)| {
            all(family_of(*address))
                .nest(tuple, |inside| {
                    inside.nest(CTA_TUPLE_IP, |inside| inside.ip(CTA_IP_V4_SRC, *address))
                })
                .nest(CTA_FILTER, |inside| inside.u32(flags, CTA_FILTER_IP_SRC))
        })
    };
    let six = addresses.iter().find(|a| a.is_ipv6());
    let six = six.map(|address| all(family_of(*address)));
    four().flat_map(of_source).chain(six).collect()
}

/// Deletes a listed flow, and no later one with the same tuples; none when it is no address's.
fn deletion(addresses: &BTreeSet<IpAddr>, flow: &[u8]) -> Option<Message> {
    let family = *flow.first()?;
    let attributes = Attributes::after(flow, FAMILY_HEADER);
    let is_source = |tuple| source(attributes, tuple).is_some_and(|a| addresses.contains(&a));
    if ![CTA_TUPLE_ORIG, CTA_TUPLE_REPLY].into_iter().any(is_source) {
        return None;
    }
    let original = attributes.find(CTA_TUPLE_ORIG)?;
    let mut delete = Message::new(DELETE, 0)
        .raw(&[family, 0, 0, 0])
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
    use std::{net::UdpSocket, time::Duration};

    use super::super::testnet::{ip as ip_tool, isolated, output, until_local};
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forgotten(addresses: &[&str], flows: usize) -> usize {
        forget(&addresses.iter().map(|a| address(a)).collect(), flows).unwrap()
    }

    /// Flows between addresses of `lo`, as /proc shows them: from which to which.
    fn flow(from: &str, to: &str) {
        // Any port: a child that another test forks holds this test's last sockets until it executes its program.
        let socket = |at: &str| {
            let socket = UdpSocket::bind((address(at), 0)).unwrap();
            let longest = Some(Duration::from_secs(5));
            socket.set_read_timeout(longest).unwrap();
            socket
        };
        let (client, server) = (socket(from), socket(to));
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

    /// Hosts 1 to 4 on `lo`, in both families, whose flows are tracked.
    fn hosts() {
        let rules = "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new accept";
        let done = std::process::Command::new("nft").arg(rules).status();
        assert!(done.unwrap().success());
        for host in 1..5 {
            ip_tool(&format!("address add 10.0.0.{host}/32 dev lo"));
            let six = format!("fd00::{host}");
            ip_tool(&format!("address add {six}/128 dev lo nodad"));
            until_local(ip_tool, &six);
        }
    }

    /// However many flows there are, which decides how the kernel is asked.
    #[test]
    fn all_flows_of_an_address_and_no_others_are_forgotten() {
        isolated(|| async {
            hosts();
            let ways = [0, usize::MAX]
                .into_iter()
                .flat_map(|flows| ["10.0.0.", "fd00::"].map(|net| (net, flows)));
            for (net, flows) in ways {
                let at = |host: u8| format!("{net}{host}");
                for (from, to) in [(1, 2), (3, 1), (3, 2), (1, 4)] {
                    flow(&at(from), &at(to));
                    assert!(
                        listed(&at(from), &at(to)),
                        "{net} {from} to {to}\n{}",
                        output("conntrack -L").1
                    );
                }
                assert_eq!(forgotten(&[&at(1)], flows), 3);
                for (from, to, stays) in [(1, 2, false), (3, 1, false), (3, 2, true), (1, 4, false)]
                {
                    assert_eq!(listed(&at(from), &at(to)), stays, "{net} {from} to {to}");
                }
                assert_eq!(forgotten(&[&at(1)], flows), 0);
                assert_eq!(forgotten(&[&at(2)], flows), 1);
                assert_eq!(forgotten(&[], flows), 0);
            }
        });
    }

    #[test]
    fn everybody_who_asks_is_served_and_many_by_one_walk() {
        isolated(|| async {
            hosts();
            let all: Vec<String> = (1..5)
                .flat_map(|h| [format!("10.0.0.{h}"), format!("fd00::{h}")])
                .collect();
            for host in &all {
                flow(host, host);
            }
            let server = Flows::start();
            let forget = |host: &String| server.forget(vec![address(host)]);
            for done in futures::future::join_all(all.iter().map(forget)).await {
                done.unwrap();
            }
            for host in &all {
                assert!(!listed(host, host), "{host}");
            }
        });
    }
}
