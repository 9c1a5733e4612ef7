//! Base chains of others that drop what they do not know, for `margayctl doctor` alone.
//!
//! The sink that programs policy looks at no table but its own. This is not the sink: it runs when a person asks, on a socket of its own,
//! and reads the headers of base chains only (hook and policy), which are few; no rule, set or element of a foreign table is listed.
//! A drop in a foreign *rule* is therefore not seen.

use std::io;

use super::error::Error;
use super::message::Kind;
use super::socket::Socket;
use crate::kernel::netlink::message::{Attributes, text};
use margay_policy::table::TABLE;

/// Families whose hooks routed packets pass, as numbers and as nft(8) names them.
const FAMILIES: [(u8, &str); 3] = [(1, "inet"), (2, "ip"), (10, "ip6")];
/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;
/// `NF_DROP`.
const DROP: u32 = 0;

/// A foreign chain at the forward hook whose policy is drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignDrop {
    /// `inet`, `ip` or `ip6`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

/// The foreign chains that drop forwarded packets by policy, in the calling thread's network namespace.
///
/// # Errors
/// A socket that does not work.
pub fn foreign_drops() -> Result<Vec<ForeignDrop>, Error> {
    let listed = |socket: &mut Socket| -> io::Result<Vec<ForeignDrop>> {
        let mut all = Vec::new();
        for (number, family) in FAMILIES {
            let chains = socket.dump_of(number, Kind::GetChain, |_| {}, |a| drops(a, family))?;
            all.extend(chains.unwrap_or_default());
        }
        Ok(all)
    };
    let mut socket = Socket::open().map_err(Error::io("nfnetlink socket"))?;
    listed(&mut socket).map_err(Error::io("listing base chains"))
}

fn drops(a: Attributes<'_>, family: &'static str) -> Option<ForeignDrop> {
    let number =
        |a: Attributes<'_>, kind: u16| Some(u32::from_be_bytes(a.find(kind)?.try_into().ok()?));
    let table = text(a.find(1)?);
    let hook = number(Attributes(a.find(4)?), 1)?;
    let policy = number(a, 5)?;
    let ours = family == "inet" && table == TABLE;
    (hook == FORWARD && policy == DROP && !ours).then(|| ForeignDrop {
        family,
        table,
        chain: a.find(3).map(text).unwrap_or_default(),
    })
}
