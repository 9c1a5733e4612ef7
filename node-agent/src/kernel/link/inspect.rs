//! Whether a link that is there is the link that should be: CNI CHECK, and what makes creating idempotent.

use std::net::IpAddr;

use margay_proto::names::GATEWAY_V6;

use super::wire::{ADDR_GEN_MODE_NONE, gateways};
use super::{Family, Mac, PodLink, find};
use crate::kernel::error::Error;
use crate::kernel::netlink::Socket;
use crate::kernel::netlink::message::{INET, INET6};
use crate::kernel::netlink::object::{
    Address, Link, Neighbour, RTN_UNICAST, RouteEntry, get_addresses, get_neighbours, get_routes,
};
use crate::kernel::netns::Netns;

/// What the kernel says about one end.
struct End {
    link: Link,
    addresses: Vec<Address>,
    neighbours: Vec<Neighbour>,
    routes: Vec<RouteEntry>,
}

impl End {
    fn read(socket: &mut Socket, link: Link) -> Result<Self, Error> {
        let object = format!("link {}", link.name);
        let mut addresses = socket.dump(&object, &get_addresses(link.ifindex), |_, payload| {
            Address::decode(payload)
        })?;
        addresses.retain(|a| a.ifindex == link.ifindex);
        let mut neighbours = Vec::new();
        for family in [INET, INET6] {
            neighbours.extend(socket.dump(
                &object,
                &get_neighbours(family, link.ifindex),
                |_, payload| Neighbour::decode(payload),
            )?);
        }
        Ok(Self {
            link,
            addresses,
            neighbours,
            routes: Vec::new(),
        })
    }

    fn with_routes(mut self, socket: &mut Socket) -> Result<Self, Error> {
        for family in [INET, INET6] {
            self.routes
                .extend(socket.dump("routes", &get_routes(family, 0), |_, payload| {
                    RouteEntry::decode(payload)
                })?);
        }
        Ok(self)
    }

    fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.ip == ip)
    }

    fn has_neighbour(&self, ip: IpAddr, mac: Mac) -> bool {
        self.neighbours
            .iter()
            .any(|n| n.ip == ip && n.mac == Some(mac) && n.permanent)
    }

    fn has_default_via(&self, gateway: IpAddr) -> bool {
        let through = |r: &RouteEntry| {
            r.hops
                .iter()
                .any(|h| h.gateway == Some(gateway) && h.ifindex == self.link.ifindex)
        };
        self.routes
            .iter()
            .any(|r| r.kind == RTN_UNICAST && r.prefix.prefix() == 0 && through(r))
    }
}

/// Everything that is not as [`super::create`] makes it, in words.
pub(super) fn differences(
    link: &PodLink,
    found: &Link,
    netns: &Netns,
    host: &mut Socket,
) -> Result<Vec<String>, Error> {
    let outside = End::read(host, found.clone())?;
    let inside = netns.run(|| {
        let mut pod = Socket::open()?;
        let Some(found) = find(&mut pod, &link.ifname)? else {
            return Ok(None);
        };
        End::read(&mut pod, found)?.with_routes(&mut pod).map(Some)
    })?;
    let Some(inside) = inside else {
        return Ok(vec![format!(
            "{} is missing in {}",
            link.ifname,
            link.netns.display()
        )]);
    };
    Ok(compare(link, &outside, &inside))
}

fn compare(link: &PodLink, outside: &End, inside: &End) -> Vec<String> {
    let (host, pod) = (&link.host_name, &link.ifname);
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, words: String| {
        if !holds {
            wrong.push(words);
        }
    };
    let paired = outside.link.peer_ifindex == Some(inside.link.ifindex)
        && inside.link.peer_ifindex == Some(outside.link.ifindex);
    expect(
        outside.link.kind.as_deref() == Some("veth") && paired,
        format!("{host} and {pod} are not the two ends of one veth"),
    );
    for (end, name, mac) in [(outside, host, link.host_mac()), (inside, pod, link.mac)] {
        expect(end.link.up, format!("{name} is down"));
        expect(
            end.link.mtu == link.mtu,
            format!("{name} has MTU {} instead of {}", end.link.mtu, link.mtu),
        );
        expect(
            end.link.mac == Some(mac),
            format!("{name} has another Ethernet address than {mac}"),
        );
    }
    expect(
        outside.link.alias.as_deref() == Some(link.alias.as_str()),
        format!("{host} does not have the alias {}", link.alias),
    );
    if link.has(Family::V6) {
        expect(
            outside.link.addr_gen_mode == Some(ADDR_GEN_MODE_NONE),
            format!("{host} generates addresses"),
        );
        expect(
            outside.has_address(IpAddr::V6(GATEWAY_V6)),
            format!("{host} lacks the address {GATEWAY_V6}"),
        );
    }
    for &ip in &link.addresses {
        expect(
            outside.has_neighbour(ip, link.mac),
            format!("{host} lacks the permanent neighbour {ip}"),
        );
        expect(
            inside.has_address(ip),
            format!("{pod} lacks the address {ip}"),
        );
    }
    for (_, gateway) in gateways()
        .into_iter()
        .filter(|(family, _)| link.has(*family))
    {
        expect(
            inside.has_neighbour(gateway, link.host_mac()),
            format!("{pod} lacks the permanent neighbour {gateway}"),
        );
        expect(
            !link.default_route || inside.has_default_via(gateway),
            format!("{pod} lacks the default route via {gateway}"),
        );
    }
    wrong
}
