//! A table as `nft` text: for `policy dump`, golden tests and `nft -c -f`.

use std::fmt::{self, Display, Write as _};

use super::rule::{Action, CtState, LinkPattern, Match, PortRange, Rule, Side, Verdict, VmapKey};
use super::{Base, Chain, ChainKind, ChainPolicy, Hook, Set, TABLE, Table, VerdictMap};
use crate::table::Family;

impl Table {
    /// The table as text that `nft -f` loads: it replaces the whole table.
    ///
    /// Everything is in the order of names, chains after the chains they need, so equal tables give equal text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a String cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{"
        )?;
        for (name, set) in &self.sets {
            write_set(out, name.as_str(), set)?;
        }
        for (name, map) in &self.maps {
            write_map(out, name.as_str(), map)?;
        }
        for (name, chain) in &self.chains {
            write_chain(out, name.as_str(), chain)?;
        }
        out.write_str("}\n")
    }
}

fn write_set(out: &mut String, name: &str, set: &Set) -> fmt::Result {
    write!(out, "\tset {name} {{")?;
    if !set.note.is_empty() {
        write!(out, " # {}", set.note)?;
    }
    writeln!(out, "\n\t\ttype {}", set.key.as_str())?;
    if set.interval {
        writeln!(out, "\t\tflags interval")?;
    }
    write_elements(out, set.elements.iter())?;
    writeln!(out, "\t}}")
}

fn write_map(out: &mut String, name: &str, map: &VerdictMap) -> fmt::Result {
    writeln!(
        out,
        "\tmap {name} {{\n\t\ttype {} : verdict",
        map.key.as_str()
    )?;
    write_elements(
        out,
        map.elements
            .iter()
            .map(|(key, verdict)| format!("{key} : {verdict}")),
    )?;
    writeln!(out, "\t}}")
}

fn write_elements(out: &mut String, elements: impl Iterator<Item = impl Display>) -> fmt::Result {
    let mut elements = elements.peekable();
    if elements.peek().is_none() {
        return Ok(());
    }
    out.write_str("\t\telements = {\n")?;
    elements.try_for_each(|element| writeln!(out, "\t\t\t{element},"))?;
    out.write_str("\t\t}\n")
}

fn write_chain(out: &mut String, name: &str, chain: &Chain) -> fmt::Result {
    writeln!(out, "\tchain {name} {{")?;
    if let Some(base) = &chain.base {
        writeln!(out, "\t\t{base}")?;
    }
    chain
        .rules
        .iter()
        .try_for_each(|rule| writeln!(out, "\t\t{rule}"))?;
    writeln!(out, "\t}}")
}

impl Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Postrouting => "postrouting",
        };
        let policy = match self.policy {
            ChainPolicy::Accept => "accept",
            ChainPolicy::Drop => "drop",
        };
        write!(
            f,
            "type {kind} hook {hook} priority {}; policy {policy};",
            self.priority
        )
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for part in &self.matches {
            write!(f, "{space}{part}")?;
            space = " ";
        }
        for action in &self.actions {
            write!(f, "{space}{action}")?;
            space = " ";
        }
        Ok(())
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iifname(link) => write!(f, "iifname {link}"),
            Self::Oifname(link) => write!(f, "oifname {link}"),
            Self::LinkPairIn(set) => write!(f, "iifname . oifname @{set}"),
            Self::LinkSourceIn(family, set) => {
                write!(f, "iifname . {} saddr @{set}", family.header())
            }
            Self::AddressIn {
                side,
                family,
                set,
                inverted,
            } => {
                let not = if *inverted { "!= " } else { "" };
                write!(f, "{} {side} {not}@{set}", family.header())
            }
            Self::AddressIs { side, network } => write!(
                f,
                "{} {side} {network}",
                Family::from(network.ip()).header()
            ),
            Self::ServiceIn(family, set) => write!(
                f,
                "{} daddr . meta l4proto . th dport @{set}",
                family.header()
            ),
            Self::Nfproto(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Nfproto(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::L4proto(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::Dport(range) => write!(f, "th dport {range}"),
            Self::CtState(states) => write!(f, "ct state {states}"),
            Self::Icmpv6Type(first, last) => write!(f, "icmpv6 type {first}-{last}"),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter => f.write_str("counter"),
            Self::Verdict(verdict) => write!(f, "{verdict}"),
            Self::Vmap { key, map } => write!(f, "{key} vmap @{map}"),
            Self::Snat(address) => {
                write!(f, "snat {} to {address}", Family::from(*address).header())
            }
        }
    }
}

impl Display for VmapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iifname => "iifname",
            Self::Oifname => "oifname",
            Self::ProtoPort => "meta l4proto . th dport",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for LinkPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(link) => write!(f, "\"{link}\""),
            Self::StartsWith(prefix) => write!(f, "\"{prefix}*\""),
        }
    }
}

impl Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "saddr",
            Self::Destination => "daddr",
        })
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Display for CtState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::INVALID, "invalid"),
            (Self::ESTABLISHED, "established"),
            (Self::RELATED, "related"),
            (Self::NEW, "new"),
            (Self::UNTRACKED, "untracked"),
        ];
        let mut comma = "";
        for (_, name) in names.iter().filter(|(state, _)| self.intersects(*state)) {
            write!(f, "{comma}{name}")?;
            comma = ",";
        }
        Ok(())
    }
}
