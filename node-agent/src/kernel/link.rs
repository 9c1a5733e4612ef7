//! A pod's wire: a veth pair with final names, addresses and neighbours on both ends, and no ARP or neighbour discovery at all.
//!
//! ```text
//!   pod namespace                                     node
//!   eth0  10.0.0.5/32 fd00::5/128 ────────────────── mgy8f3a…   fe80::1/64, addr_gen_mode none
//!     169.254.1.1/32 dev eth0 scope link               (the route to the pod is the RouteSink's)
//!     default via 169.254.1.1, default via fe80::1
//!     neighbours: 169.254.1.1, fe80::1 -> host MAC     neighbours: 10.0.0.5, fd00::5 -> pod MAC
//! ```
//!
//! The veth is made with its peer *inside* the pod's namespace: moving and renaming one costs twenty times as much. Everything
//! hangs on the pair, so deleting it undoes all. The pod's half is written through a socket that a short thread opens there.

mod inspect;
mod mac;
mod wire;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;

use margay_proto::names::LINK_PREFIX;
use nix::errno::Errno;

pub use self::mac::Mac;
use super::error::Error;
use super::netlink::Socket;
use super::netlink::message::Message;
use super::netlink::object::{Link, get_link};
use super::netns::{Identity, Netns};
use crate::fault;

/// What a pod's link shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Host side name: `margay_proto::names::link_name`.
    pub host_name: String,
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// Interface name in the pod.
    pub ifname: String,
    /// Ethernet address of the pod's side: [`Mac::of`], unless one is asked for.
    pub mac: Mac,
    /// MTU of both sides, in octets.
    pub mtu: u32,
    /// The pod's addresses: one family or both.
    pub addresses: Vec<IpAddr>,
    /// `namespace/pod`, as the host side's alias.
    pub alias: String,
    /// Whether this is the pod's first interface, which the default routes go through.
    pub default_route: bool,
}

impl PodLink {
    /// Host side address: from the host side's name, so that it is the same whenever the link is made again.
    pub(crate) fn host_mac(&self) -> Mac {
        Mac::of(&self.host_name, "")
    }

    pub(crate) fn has(&self, family: Family) -> bool {
        self.addresses
            .iter()
            .any(|ip| ip.is_ipv6() == (family == Family::V6))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A link that is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Index of the host side.
    pub ifindex: u32,
    /// Ethernet address of the host side.
    pub host_mac: Mac,
    /// The namespace that the pod's side is in: recorded with the address.
    pub netns: Identity,
    /// `false` when it was found complete and left alone.
    pub made: bool,
}

/// The host side of a pod link, of a living pod or left over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// Interface name, with our prefix.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// `namespace/pod`, once written.
    pub alias: Option<String>,
    /// The node's id of the pod's namespace.
    pub peer_netns: Option<i32>,
    /// Administratively up.
    pub up: bool,
    /// MTU, in octets.
    pub mtu: u32,
}

/// Makes the link so; one that is right already is left alone, a wrong one of the same name is replaced.
///
/// # Errors
/// [`Error::Foreign`] when the pod has an interface of that name which is not ours. Whatever was made is removed again.
pub async fn create(link: &PodLink) -> Result<Wire, Error> {
    let link = link.clone();
    blocking(move || create_now(&link)).await
}

/// Deletes the host side of a link and with it everything of it; `false` when it was gone already.
///
/// # Errors
/// What the kernel says; a name without our prefix is refused.
pub async fn delete(host_name: &str) -> Result<bool, Error> {
    let name = host_name.to_owned();
    blocking(move || remove(&mut Socket::open()?, &name)).await
}

/// Verifies everything that [`create`] makes.
///
/// # Errors
/// [`Error::Mismatch`] with all that is wrong, in words.
pub async fn check(link: &PodLink) -> Result<Wire, Error> {
    let link = link.clone();
    blocking(move || check_now(&link)).await
}

/// All links of this node that carry our prefix.
///
/// # Errors
/// What the kernel says.
pub async fn list() -> Result<Vec<HostLink>, Error> {
    blocking(|| {
        let links =
            Socket::open()?.dump("links", &get_link(None), |_, payload| Link::decode(payload))?;
        let ours = links
            .into_iter()
            .filter(|link| link.name.starts_with(LINK_PREFIX));
        Ok(ours
            .map(|l| HostLink {
                name: l.name,
                ifindex: l.ifindex,
                alias: l.alias,
                peer_netns: l.peer_netns,
                up: l.up,
                mtu: l.mtu,
            })
            .collect())
    })
    .await
}

fn create_now(link: &PodLink) -> Result<Wire, Error> {
    ours(&link.host_name)?;
    let netns = Netns::open(&link.netns)?;
    let mut host = Socket::open()?;
    if let Some(found) = find(&mut host, &link.host_name)? {
        if inspect::differences(link, &found, &netns, &mut host)?.is_empty() {
            return Ok(made_of(link, &netns, found.ifindex, false));
        }
        remove(&mut host, &link.host_name)?;
    }
    add(&mut host, link, &netns)?;
    fault::point("link: pair made");
    match wire::complete(&mut host, link, &netns) {
        Ok(ifindex) => Ok(made_of(link, &netns, ifindex, true)),
        Err(first) => Err(undo(&mut host, link, first)),
    }
}

fn check_now(link: &PodLink) -> Result<Wire, Error> {
    let netns = Netns::open(&link.netns)?;
    let mut host = Socket::open()?;
    let Some(found) = find(&mut host, &link.host_name)? else {
        return Err(Error::Mismatch(vec![format!(
            "link {} is missing",
            link.host_name
        )]));
    };
    let differences = inspect::differences(link, &found, &netns, &mut host)?;
    if differences.is_empty() {
        Ok(made_of(link, &netns, found.ifindex, false))
    } else {
        Err(Error::Mismatch(differences))
    }
}

fn made_of(link: &PodLink, netns: &Netns, ifindex: u32, made: bool) -> Wire {
    Wire {
        ifindex,
        host_mac: link.host_mac(),
        netns: netns.identity().clone(),
        made,
    }
}

fn add(host: &mut Socket, link: &PodLink, netns: &Netns) -> Result<(), Error> {
    let object = format!("link {}", link.host_name);
    match host.request(&object, wire::veth(link, netns)) {
        // The host side's name was free a moment ago, and only we use the prefix: it is the pod's side that exists.
        Err(e) if e.errno() == Some(Errno::EEXIST) => {
            if !remove_strayed(link, netns)? {
                return Err(Error::Foreign(format!(
                    "{} has an interface {} that is not Margay's",
                    link.netns.display(),
                    link.ifname
                )));
            }
            host.request(&object, wire::veth(link, netns))
        }
        other => other,
    }
}

/// Removes a pair by the pod's half, when somebody renamed the host's half or moved it elsewhere; `false` when that half does not carry the
/// Ethernet address that we gave it, and so is not ours.
fn remove_strayed(link: &PodLink, netns: &Netns) -> Result<bool, Error> {
    netns.run(|| {
        let mut pod = Socket::open()?;
        let found = find(&mut pod, &link.ifname)?;
        let Some(half) =
            found.filter(|l| l.kind.as_deref() == Some("veth") && l.mac == Some(link.mac))
        else {
            return Ok(false);
        };
        let message = Message::new(libc::RTM_DELLINK, 0).link(half.ifindex, 0, 0);
        pod.request(&format!("link {}", link.ifname), message)?;
        Ok(true)
    })
}

fn undo(host: &mut Socket, link: &PodLink, first: Error) -> Error {
    match remove(host, &link.host_name) {
        Ok(_) => first,
        Err(e) => Error::Several {
            first: Box::new(first),
            undo: vec![e],
        },
    }
}

fn remove(host: &mut Socket, name: &str) -> Result<bool, Error> {
    ours(name)?;
    let message = Message::new(libc::RTM_DELLINK, 0)
        .link(0, 0, 0)
        .text(libc::IFLA_IFNAME, name);
    match host.request(&format!("link {name}"), message) {
        Err(e) if e.errno() == Some(Errno::ENODEV) => Ok(false),
        other => other.map(|()| true),
    }
}

fn ours(name: &str) -> Result<(), Error> {
    if name.starts_with(LINK_PREFIX) {
        Ok(())
    } else {
        Err(Error::Foreign(format!("link {name} is not Margay's")))
    }
}

fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    socket.get(
        &format!("link {name}"),
        &get_link(Some(name)),
        |_, payload| Link::decode(payload),
    )
}

/// A few milliseconds of system calls, off the runtime's workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(Error::io("pod link", cancelled.into())),
        },
    }
}
