//! The messages that make both ends of a pod's wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use margay_proto::names::{GATEWAY_V4, GATEWAY_V6};

use super::{Family, Mac, PodLink, find};
use crate::fault;
use crate::kernel::error::Error;
use crate::kernel::netlink::Socket;
use crate::kernel::netlink::message::{INET, INET6, Message};
use crate::kernel::netlink::object::{
    IFLA_INET6_ADDR_GEN_MODE, RT_TABLE_MAIN, RTN_UNICAST, new_address, new_neighbour,
};
use crate::kernel::netns::Netns;
use crate::kernel::sysctl;

const VETH_INFO_PEER: u16 = 1;
/// `IN6_ADDR_GEN_MODE_NONE`: the host side has fe80::1 and no other link-local address.
pub(super) const ADDR_GEN_MODE_NONE: u8 = 1;
/// Of the host side's fe80::1: a pod's own link-local address can be answered.
pub(super) const LINK_LOCAL_PREFIX: u8 = 64;
/// `RTPROT_STATIC`: the pod's routes are of no routing daemon.
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
/// Loopback's index in every namespace.
const LOOPBACK: u32 = 1;

/// The pair, its peer directly in the pod's namespace with its final name and address.
pub(super) fn veth(link: &PodLink, netns: &Netns) -> Message {
    let netns = netns.file().as_raw_fd().cast_unsigned();
    let end = |m: Message, name: &str, mac: Mac| {
        m.text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_MTU, link.mtu)
            .attr(libc::IFLA_ADDRESS, &mac.octets())
    };
    let peer =
        |m: Message| end(m.link(0, 0, 0), &link.ifname, link.mac).u32(libc::IFLA_NET_NS_FD, netns);
    let info = |m: Message| {
        m.text(libc::IFLA_INFO_KIND, "veth")
            .nest(libc::IFLA_INFO_DATA, |m| m.nest(VETH_INFO_PEER, peer))
    };
    let message =
        Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL).link(0, 0, 0);
    end(message, &link.host_name, link.host_mac()).nest(libc::IFLA_LINKINFO, info)
}

/// Everything after the pair exists; the host side's index.
pub(super) fn complete(host: &mut Socket, link: &PodLink, netns: &Netns) -> Result<u32, Error> {
    let Some(made) = find(host, &link.host_name)? else {
        return Err(Error::Mismatch(vec![format!(
            "link {} vanished while it was made",
            link.host_name
        )]));
    };
    host_sysctls(link)?;
    fault::point("link: sysctls set");
    send(
        host,
        &format!("link {}", link.host_name),
        host_side(link, made.ifindex),
    )?;
    fault::point("link: node's side made");
    netns.run(|| pod_side(link))?;
    Ok(made.ifindex)
}

/// Forwarding explicitly, and no router advertisement from a pod is ever listened to.
fn host_sysctls(link: &PodLink) -> Result<(), Error> {
    let name = &link.host_name;
    if link.has(Family::V4) {
        sysctl::ensure(&format!("net/ipv4/conf/{name}/forwarding"), "1")?;
    }
    if sysctl::exists(&format!("net/ipv6/conf/{name}")) {
        sysctl::ensure(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    }
    if link.has(Family::V6) {
        sysctl::ensure(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
        sysctl::ensure(&format!("net/ipv6/conf/{name}/forwarding"), "1")?;
    }
    Ok(())
}

fn host_side(link: &PodLink, ifindex: u32) -> Vec<(String, Message)> {
    let mut messages = Vec::new();
    if sysctl::exists(&format!("net/ipv6/conf/{}", link.host_name)) {
        // Before it is up, or the kernel has made an address of its own by then.
        messages.push(("address generation".into(), addr_gen_mode_none(ifindex)));
    }
    messages.push((
        "alias".into(),
        Message::new(libc::RTM_NEWLINK, 0)
            .link(ifindex, 0, 0)
            .text(libc::IFLA_IFALIAS, &link.alias),
    ));
    if link.has(Family::V6) {
        messages.push((
            format!("address {GATEWAY_V6}"),
            new_address(ifindex, IpAddr::V6(GATEWAY_V6), LINK_LOCAL_PREFIX),
        ));
    }
    messages.push(("up".into(), up(ifindex)));
    for &ip in &link.addresses {
        messages.push((
            format!("neighbour {ip}"),
            new_neighbour(ifindex, ip, link.mac),
        ));
    }
    messages
}

fn addr_gen_mode_none(ifindex: u32) -> Message {
    let inet6 = |m: Message| m.u8(IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE);
    Message::new(libc::RTM_NEWLINK, 0)
        .link(ifindex, 0, 0)
        .nest(libc::IFLA_AF_SPEC, |m| m.nest(u16::from(INET6), inet6))
}

fn up(ifindex: u32) -> Message {
    let up = libc::IFF_UP.cast_unsigned();
    Message::new(libc::RTM_NEWLINK, 0).link(ifindex, up, up)
}

/// Runs in the pod's namespace.
fn pod_side(link: &PodLink) -> Result<(), Error> {
    let mut pod = Socket::open()?;
    let Some(inside) = find(&mut pod, &link.ifname)? else {
        return Err(Error::Mismatch(vec![format!(
            "{} vanished from {}",
            link.ifname,
            link.netns.display()
        )]));
    };
    if link.has(Family::V6) {
        // Some runtimes start pods with IPv6 off.
        sysctl::ensure("net/ipv6/conf/lo/disable_ipv6", "0")?;
        sysctl::ensure(&format!("net/ipv6/conf/{}/disable_ipv6", link.ifname), "0")?;
    }
    send(
        &mut pod,
        &format!("{} in {}", link.ifname, link.netns.display()),
        pod_messages(link, inside.ifindex),
    )
}

fn pod_messages(link: &PodLink, ifindex: u32) -> Vec<(String, Message)> {
    let mut messages = vec![
        ("loopback up".into(), up(LOOPBACK)),
        ("up".into(), up(ifindex)),
    ];
    for &ip in &link.addresses {
        messages.push((
            format!("address {ip}"),
            new_address(ifindex, ip, if ip.is_ipv4() { 32 } else { 128 }),
        ));
    }
    for (family, gateway) in gateways() {
        if !link.has(family) {
            continue;
        }
        // First the neighbour: the first packet must not ask for it.
        messages.push((
            format!("neighbour {gateway}"),
            new_neighbour(ifindex, gateway, link.host_mac()),
        ));
        if link.default_route {
            messages.extend(default_routes(gateway, ifindex));
        }
    }
    messages
}

/// The link-local gateway of each family.
pub(super) const fn gateways() -> [(Family, IpAddr); 2] {
    [
        (Family::V4, IpAddr::V4(GATEWAY_V4)),
        (Family::V6, IpAddr::V6(GATEWAY_V6)),
    ]
}

fn default_routes(gateway: IpAddr, ifindex: u32) -> Vec<(String, Message)> {
    let default = |any: IpAddr| {
        (
            format!("default via {gateway}"),
            route(any, 0, RT_SCOPE_UNIVERSE, ifindex).ip(libc::RTA_GATEWAY, gateway),
        )
    };
    match gateway {
        // The kernel takes a gateway only if a route says that it is on the link.
        IpAddr::V4(_) => vec![
            (
                format!("route {gateway}"),
                route(gateway, 32, RT_SCOPE_LINK, ifindex).ip(libc::RTA_DST, gateway),
            ),
            default(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ],
        IpAddr::V6(_) => vec![default(IpAddr::V6(Ipv6Addr::UNSPECIFIED))],
    }
}

fn route(of: IpAddr, prefix_len: u8, scope: u8, ifindex: u32) -> Message {
    let family = if of.is_ipv4() { INET } else { INET6 };
    let table = RT_TABLE_MAIN as u8;
    Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
        .raw(&[
            family,
            prefix_len,
            0,
            0,
            table,
            RTPROT_STATIC,
            scope,
            RTN_UNICAST,
            0,
            0,
            0,
            0,
        ])
        .u32(libc::RTA_OIF, ifindex)
}

/// One batch; the first refusal is the error, since later ones follow from it.
fn send(socket: &mut Socket, object: &str, steps: Vec<(String, Message)>) -> Result<(), Error> {
    let (names, messages): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    let refusals = socket.batch(&messages).map_err(|e| Error::io(object, e))?;
    match names
        .into_iter()
        .zip(refusals)
        .find_map(|(name, refusal)| Some((name, refusal?)))
    {
        Some((name, refusal)) => Err(refusal.of(format!("{object}: {name}"))),
        None => Ok(()),
    }
}
