//! What the kernel holds of our table, from its dumps.
//!
//! Whatever this agent could not have written makes the picture `alien`: the table is then made anew, in one transaction.
//! Only our own table is asked for. For chains the kernel has no such filter; those of other tables are skipped by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use margay_policy::table::{
    Base, ChainKind, ChainName, ChainPolicy, Digest, Element, Hook, KeyType, Set, SetName, TABLE,
    Verdict, VerdictMap,
};
use margay_policy::{Observed, ObservedChain};

use super::encode::{self, DATA_VERDICT, DIGEST, INTERVAL_END, SET_INTERVAL, SET_MAP};
use super::key::{self, Bound};
use super::message::Kind;
use super::socket::Socket;
use crate::kernel::netlink::message::{Attributes, text};

/// The table as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundTable {
    /// `NFTA_TABLE_FLAGS`
    pub(super) flags: u32,
    /// Netlink port of its owner.
    pub(super) owner: Option<u32>,
    /// How many sets, maps, chains, objects and flowtables it holds.
    uses: usize,
}

/// Our table, if it exists.
pub(super) fn table(socket: &mut Socket) -> io::Result<Option<FoundTable>> {
    let reply = socket.get(Kind::GetTable, |a| a.text(1, TABLE))?;
    Ok(reply.map(|reply| {
        let attributes = Attributes(&reply);
        FoundTable {
            flags: number(attributes, 2).unwrap_or_default(),
            owner: number(attributes, 7),
            uses: number(attributes, 3).unwrap_or_default() as usize,
        }
    }))
}

/// What our table holds; nothing when it does not exist.
pub(super) fn content(socket: &mut Socket) -> io::Result<Observed> {
    let mut observed = Observed::default();
    let Some(declared) = socket.dump(
        Kind::GetSet,
        |a| a.text(1, TABLE),
        |a| ours(a).and_then(declaration),
    )?
    else {
        return Ok(observed);
    };
    for declaration in declared {
        read_set(socket, declaration, &mut observed)?;
    }
    let rules = socket
        .dump(
            Kind::GetRule,
            |a| a.text(1, TABLE),
            |a| ours(a).and_then(rule),
        )?
        .unwrap_or_default();
    let chains = socket
        .dump(Kind::GetChain, |_| {}, |a| ours(a).and_then(chain))?
        .unwrap_or_default();
    let mut rules_of: BTreeMap<ChainName, Vec<Option<Digest>>> = BTreeMap::new();
    for (chain, digest) in rules {
        rules_of.entry(chain).or_default().push(digest);
    }
    for (name, base) in chains {
        observed.alien |= base == FoundBase::Alien;
        let base = if let FoundBase::Known(base) = base {
            Some(base)
        } else {
            None
        };
        let rules = rules_of.remove(&name).unwrap_or_default();
        observed
            .chains
            .insert(name, ObservedChain::Read { base, rules });
    }
    // Objects and flowtables are not read, they are counted. Without a table there is nothing to count.
    let known = observed.sets.len() + observed.maps.len() + observed.chains.len();
    observed.alien |= table(socket)?.is_some_and(|table| table.uses != known);
    Ok(observed)
}

/// A set or map without its elements.
struct Declaration {
    name: SetName,
    /// None for a type that is not ours.
    key: Option<KeyType>,
    flags: u32,
    data: Option<u32>,
}

fn declaration(a: Attributes<'_>) -> Option<Declaration> {
    let length = number(a, 5)? as usize;
    Some(Declaration {
        name: SetName::new(text(a.find(2)?)),
        key: number(a, 4).and_then(|kind| key::from_kernel(kind, length)),
        flags: number(a, 3).unwrap_or_default(),
        data: number(a, 6),
    })
}

fn read_set(socket: &mut Socket, declaration: Declaration, into: &mut Observed) -> io::Result<()> {
    let Declaration {
        name,
        key: Some(key),
        flags,
        data,
    } = declaration
    else {
        into.alien = true;
        return Ok(());
    };
    let ask = |a: &mut super::message::Attributes<'_>| {
        a.text(1, TABLE);
        a.text(2, name.as_str());
    };
    let lists = socket.dump(Kind::GetSetElem, ask, |a| {
        Some(
            ours(a)
                .and_then(|a| a.find(3))
                .map(elements)
                .unwrap_or_default(),
        )
    })?;
    let found: Vec<Found> = lists.unwrap_or_default().into_iter().flatten().collect();
    match flags {
        0 => match found
            .iter()
            .map(|one| one.single(key))
            .collect::<Option<BTreeSet<_>>>()
        {
            Some(all) => drop(into.sets.insert(
                name,
                Set {
                    elements: Arc::new(all),
                    ..Set::hash(key)
                },
            )),
            None => into.alien = true,
        },
        SET_INTERVAL => match found
            .iter()
            .map(Found::bound)
            .collect::<Option<Vec<_>>>()
            .and_then(|all| key::read_ranges(key, &all))
        {
            Some(all) => drop(into.sets.insert(
                name,
                Set {
                    elements: Arc::new(all),
                    ..Set::interval(key)
                },
            )),
            None => into.alien = true,
        },
        SET_MAP if data == Some(DATA_VERDICT) => match found
            .into_iter()
            .map(|one| one.entry(key))
            .collect::<Option<BTreeMap<_, _>>>()
        {
            Some(elements) => drop(into.maps.insert(name, VerdictMap { key, elements })),
            None => into.alien = true,
        },
        _ => into.alien = true,
    }
    Ok(())
}

/// An element as read.
struct Found {
    /// None for a catch-all element.
    key: Option<Vec<u8>>,
    verdict: Option<Verdict>,
    flags: u32,
    /// It times out, or counts, or has a value of another kind: not ours.
    alien: bool,
}

/// The elements of one `NFTA_SET_ELEM_LIST_ELEMENTS`.
fn elements(list: &[u8]) -> Vec<Found> {
    let one = |(_, element)| {
        let a = Attributes(element);
        let verdict = a
            .find(2)
            .and_then(|data| Attributes(data).find(2))
            .and_then(verdict);
        Found {
            key: a
                .find(1)
                .and_then(|data| Attributes(data).find(1))
                .map(<[u8]>::to_vec),
            alien: a.find(2).is_some() && verdict.is_none()
                || [4, 7, 10, 11]
                    .into_iter()
                    .any(|kind| a.find(kind).is_some()),
            verdict,
            flags: number(a, 3).unwrap_or_default(),
        }
    };
    Attributes(list).map(one).collect()
}

impl Found {
    fn single(&self, key: KeyType) -> Option<Element> {
        if self.alien || self.flags != 0 {
            return None;
        }
        key::read(key, self.key.as_ref()?)
    }

    fn bound(&self) -> Option<Bound> {
        if self.alien || self.flags & !INTERVAL_END != 0 {
            return None;
        }
        Some(Bound {
            bytes: self.key.clone()?,
            is_end: self.flags & INTERVAL_END != 0,
        })
    }

    fn entry(self, key: KeyType) -> Option<(Element, Verdict)> {
        Some((self.single(key)?, self.verdict?))
    }
}

/// None for a verdict that we never write.
fn verdict(data: &[u8]) -> Option<Verdict> {
    let chain = || {
        Attributes(data)
            .find(2)
            .map(|name| ChainName::new(text(name)))
    };
    match number(Attributes(data), 1)?.cast_signed() {
        0 => Some(Verdict::Drop),
        1 => Some(Verdict::Accept),
        -3 => chain().map(Verdict::Jump),
        -4 => chain().map(Verdict::Goto),
        -5 => Some(Verdict::Return),
        _ => None,
    }
}

/// How a chain was found to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FoundBase {
    None,
    Known(Base),
    Alien,
}

fn chain(a: Attributes<'_>) -> Option<(ChainName, FoundBase)> {
    let name = ChainName::new(text(a.find(3)?));
    let Some(hook) = a.find(4) else {
        return Some((name, FoundBase::None));
    };
    let base = || {
        let hook_number = number(Attributes(hook), 1)?;
        let kind_text = a.find(7).map(text)?;
        let policy_number = number(a, 5)?;
        Some(Base {
            kind: [ChainKind::Filter, ChainKind::Nat]
                .into_iter()
                .find(|kind| encode::kind_name(*kind) == kind_text)?,
            hook: [Hook::Input, Hook::Forward, Hook::Postrouting]
                .into_iter()
                .find(|hook| hook.number() == hook_number)?,
            priority: number(Attributes(hook), 2)?.cast_signed(),
            policy: [ChainPolicy::Accept, ChainPolicy::Drop]
                .into_iter()
                .find(|policy| encode::policy_number(*policy) == policy_number)?,
        })
    };
    Some((name, base().map_or(FoundBase::Alien, FoundBase::Known)))
}

fn rule(a: Attributes<'_>) -> Option<(ChainName, Option<Digest>)> {
    let digest = a.find(7).and_then(|userdata| match userdata {
        [DIGEST, 16, digest @ ..] => digest.try_into().ok().map(Digest),
        _ => None,
    });
    Some((ChainName::new(text(a.find(2)?)), digest))
}

/// The attributes, if they are about our table: its name is the first attribute of every kind of object.
pub(super) fn ours(a: Attributes<'_>) -> Option<Attributes<'_>> {
    (a.find(1)?.strip_suffix(&[0])? == TABLE.as_bytes()).then_some(a)
}

fn number(a: Attributes<'_>, kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(a.find(kind)?.try_into().ok()?))
}
