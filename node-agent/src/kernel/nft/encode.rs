//! Changes of a table as nfnetlink messages. Pure: bytes out, no socket.

use margay_policy::Change;
use margay_policy::table::{
    Base, ChainKind, ChainName, ChainPolicy, Element, KeyType, Rule, SetName, TABLE, Verdict,
};

use super::error::Subject;
use super::expression;
use super::key::{self, Key, Written};
use super::message::{APPEND, Attributes, CREATE, EXCLUSIVE, Kind, Transaction};

/// Bytes of elements after which the next message begins: the list is one attribute, whose length has 16 bits. The longest
/// element (a verdict that names a chain of 255 bytes) fits behind it many times.
const ELEMENTS: usize = 48 * 1024;

/// `NFT_SET_INTERVAL`, `NFT_SET_MAP`
pub(super) const SET_INTERVAL: u32 = 4;
pub(super) const SET_MAP: u32 = 8;
/// `NFT_DATA_VERDICT`: the values of a map are verdicts.
pub(super) const DATA_VERDICT: u32 = 0xffff_ff00;
/// `NFT_SET_ELEM_INTERVAL_END`
pub(super) const INTERVAL_END: u32 = 1;
/// Kind of our entry in the type-length-value list that nft(8) expects in a rule's userdata; it skips kinds it does not know.
pub(super) const DIGEST: u8 = b'm';

/// nft(8)'s kinds of entries in a set's userdata.
const SET_KEY_BYTE_ORDER: u8 = 0;
const SET_COMMENT: u8 = 7;
/// nft(8)'s limit of a comment, with its terminating zero.
const COMMENT_LENGTH: usize = 128;

/// Whether the table is to belong to this process (`NFT_TABLE_F_OWNER`) and to outlive it (`NFT_TABLE_F_PERSIST`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableFlags {
    None,
    OwnerPersist,
}

/// `NFT_TABLE_F_OWNER`
pub(super) const TABLE_OWNER: u32 = 2;
/// `NFT_TABLE_F_PERSIST`
pub(super) const TABLE_PERSIST: u32 = 4;

/// Declares a table; where it exists, takes it into possession.
pub(super) fn new_table(name: &str, flags: TableFlags, into: &mut Transaction) {
    into.message(Kind::NewTable, CREATE, Subject::Table, |a| {
        a.text(1, name);
        if flags == TableFlags::OwnerPersist {
            a.u32(2, TABLE_OWNER | TABLE_PERSIST);
        }
    });
}

/// Deletes a table with all it holds.
pub(super) fn delete_table(name: &str, into: &mut Transaction) {
    into.message(Kind::DelTable, 0, Subject::Table, |a| a.text(1, name));
}

/// Adds the messages of one change. `flags` are for a table that is made anew.
pub(super) fn change(change: &Change, flags: TableFlags, into: &mut Transaction) {
    match change {
        Change::RecreateTable => {
            // Deleting what does not exist would be refused.
            new_table(TABLE, TableFlags::None, into);
            delete_table(TABLE, into);
            new_table(TABLE, flags, into);
        }
        Change::AddSet {
            name,
            key,
            interval,
            note,
        } => {
            let flags = if *interval { SET_INTERVAL } else { 0 };
            new_set(name, *key, flags, note, Subject::Set(name.clone()), into);
        }
        Change::AddMap { name, key } => {
            new_set(name, *key, SET_MAP, "", Subject::Map(name.clone()), into)
        }
        Change::AddElements { set, elements: all } => {
            elements(
                Kind::NewSetElem,
                set,
                all.iter().map(|element| (element, None)),
                into,
            );
        }
        Change::DeleteElements { set, elements: all } => {
            elements(
                Kind::DelSetElem,
                set,
                all.iter().map(|element| (element, None)),
                into,
            );
        }
        Change::AddVerdicts { map, elements: all } => {
            elements(
                Kind::NewSetElem,
                map,
                all.iter().map(|(key, verdict)| (key, Some(verdict))),
                into,
            );
        }
        Change::DeleteVerdicts { map, keys } => {
            elements(
                Kind::DelSetElem,
                map,
                keys.iter().map(|key| (key, None)),
                into,
            );
        }
        Change::AddChain { name, base } => new_chain(name, *base, into),
        Change::FlushChain(name) => {
            into.message(Kind::DelRule, 0, Subject::Chain(name.clone()), |a| {
                a.text(1, TABLE);
                a.text(2, name.as_str());
            })
        }
        Change::AddRules { chain, rules } => {
            rules
                .iter()
                .enumerate()
                .for_each(|(index, rule)| new_rule(chain, index, rule, into));
        }
        Change::DeleteMap(name) => delete_set(name, Subject::Map(name.clone()), into),
        Change::DeleteSet(name) => delete_set(name, Subject::Set(name.clone()), into),
        Change::DeleteChain(name) => {
            into.message(Kind::DelChain, 0, Subject::Chain(name.clone()), |a| {
                a.text(1, TABLE);
                a.text(3, name.as_str());
            })
        }
    }
}

/// Numbers: `enum nft_set_attributes`.
fn new_set(
    name: &SetName,
    key: KeyType,
    flags: u32,
    note: &str,
    subject: Subject,
    into: &mut Transaction,
) {
    into.message(Kind::NewSet, CREATE | EXCLUSIVE, subject, |a| {
        a.text(1, TABLE);
        a.text(2, name.as_str());
        a.u32(3, flags);
        a.u32(4, key::type_number(key));
        a.u32(5, u32::try_from(key::length(key)).unwrap_or(u32::MAX));
        if flags & SET_MAP != 0 {
            a.u32(6, DATA_VERDICT);
            a.u32(7, 0);
        }
        // The kernel insists on an id, by which a transaction may refer to a set. Ours refers by name, which is as good.
        a.u32(10, 1);
        let userdata = set_userdata(key, note);
        if !userdata.is_empty() {
            a.bytes(13, &userdata);
        }
    });
}

/// What nft(8) needs to list the set readable.
fn set_userdata(key: KeyType, note: &str) -> Vec<u8> {
    let mut userdata = Vec::new();
    if let Some(order) = key::byte_order(key) {
        userdata.extend_from_slice(&[SET_KEY_BYTE_ORDER, 4]);
        userdata.extend_from_slice(&order.to_ne_bytes());
    }
    // nft(8) prints it between quotes and does not escape.
    let note = note.replace('"', "'");
    let note = &note[..note.floor_char_boundary(COMMENT_LENGTH - 1)];
    if let (false, Ok(length)) = (note.is_empty(), u8::try_from(note.len() + 1)) {
        userdata.extend_from_slice(&[SET_COMMENT, length]);
        userdata.extend_from_slice(note.as_bytes());
        userdata.push(0);
    }
    userdata
}

fn delete_set(name: &SetName, subject: Subject, into: &mut Transaction) {
    into.message(Kind::DelSet, 0, subject, |a| {
        a.text(1, TABLE);
        a.text(2, name.as_str());
    });
}

/// As many messages as the elements need.
fn elements<'a>(
    kind: Kind,
    set: &SetName,
    elements: impl Iterator<Item = (&'a Element, Option<&'a Verdict>)>,
    into: &mut Transaction,
) {
    let flags = if kind == Kind::NewSetElem {
        CREATE | EXCLUSIVE
    } else {
        0
    };
    let mut elements = elements.peekable();
    while let Some((example, _)) = elements.peek() {
        let subject = Subject::Element {
            set: set.clone(),
            element: Some(**example),
        };
        into.message(kind, flags, subject, |a| {
            a.text(1, TABLE);
            a.text(2, set.as_str());
            a.nest(3, |list| {
                let full = list.position() + ELEMENTS;
                while let Some((element, verdict)) = elements.next_if(|_| list.position() < full) {
                    put_element(element, verdict, list);
                }
            });
        });
    }
}

fn put_element(element: &Element, verdict: Option<&Verdict>, list: &mut Attributes<'_>) {
    match key::write(element) {
        Written::Single(key) => put_key(&key, 0, verdict, list),
        Written::Range(first, behind) => {
            put_key(&first, 0, verdict, list);
            if let Some(behind) = behind {
                put_key(&behind, INTERVAL_END, None, list);
            }
        }
    }
}

/// Numbers: `enum nft_set_elem_attributes`.
fn put_key(key: &Key, flags: u32, verdict: Option<&Verdict>, list: &mut Attributes<'_>) {
    list.nest(1, |a| {
        a.nest(1, |data| expression::value(key.bytes(), data));
        if let Some(verdict) = verdict {
            a.nest(2, |data| expression::verdict(verdict, data));
        }
        if flags != 0 {
            a.u32(3, flags);
        }
    });
}

/// Numbers: `enum nft_chain_attributes`.
fn new_chain(name: &ChainName, base: Option<Base>, into: &mut Transaction) {
    into.message(
        Kind::NewChain,
        CREATE | EXCLUSIVE,
        Subject::Chain(name.clone()),
        |a| {
            a.text(1, TABLE);
            a.text(3, name.as_str());
            let Some(base) = base else { return };
            a.nest(4, |hook| {
                hook.u32(1, base.hook.number());
                hook.i32(2, base.priority);
            });
            a.u32(5, policy_number(base.policy));
            a.text(7, kind_name(base.kind));
        },
    );
}

/// Numbers: `enum nft_rule_attributes`.
fn new_rule(chain: &ChainName, index: usize, rule: &Rule, into: &mut Transaction) {
    let subject = Subject::Rule {
        chain: chain.clone(),
        index,
    };
    into.message(Kind::NewRule, CREATE | APPEND, subject, |a| {
        a.text(1, TABLE);
        a.text(2, chain.as_str());
        a.nest(4, |expressions| expression::rule(rule, expressions));
        let mut userdata = [0; 18];
        userdata[..2].copy_from_slice(&[DIGEST, 16]);
        userdata[2..].copy_from_slice(&rule.digest().0);
        a.bytes(7, &userdata);
    });
}

/// `NFTA_CHAIN_TYPE`
pub(super) fn kind_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
    }
}

/// `NF_DROP` or `NF_ACCEPT`
pub(super) fn policy_number(policy: ChainPolicy) -> u32 {
    match policy {
        ChainPolicy::Drop => 0,
        ChainPolicy::Accept => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn long_lists_are_cut_into_messages_that_fit_their_attribute() {
        let elements: Vec<_> = (0..10_000)
            .map(|n| Element::Ipv4(Ipv4Addr::from_bits(n)))
            .collect();
        let mut transaction = Transaction::new(1);
        change(
            &Change::AddElements {
                set: SetName::new("s"),
                elements: elements.clone(),
            },
            TableFlags::None,
            &mut transaction,
        );
        let finished = transaction.finish();
        // 16 bytes an element: 160 kB in four messages of at most 48 kB.
        assert_eq!(finished.acknowledged, 5);
        let firsts = [0, 3072, 6144, 9216].map(|n| Subject::Element {
            set: SetName::new("s"),
            element: Some(elements[n]),
        });
        let subjects: Vec<_> = (2..=5)
            .map(|n| finished.subject(n, 0).unwrap().0.clone())
            .collect();
        assert_eq!(subjects, firsts);
    }

    #[test]
    fn notes_are_cut_at_a_character() {
        let userdata = set_userdata(KeyType::Ipv4, &"ä\"".repeat(100));
        assert_eq!(userdata[..6], [0, 4, 2, 0, 0, 0]);
        assert_eq!(userdata[6], SET_COMMENT);
        let comment = std::str::from_utf8(&userdata[8..]).unwrap();
        assert_eq!(comment.len(), usize::from(userdata[7]));
        assert!(
            comment.len() <= COMMENT_LENGTH && comment.ends_with("'\0") && !comment.contains('"'),
            "{comment}"
        );
        assert!(set_userdata(KeyType::ProtoPort, "").is_empty());
    }
}
