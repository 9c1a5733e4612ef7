//! What can go wrong with the table, each error naming the object it is about.

use std::fmt;
use std::io;

use margay_policy::table::{ChainName, Element, Inconsistency, SetName, TABLE};
use nix::errno::Errno;

/// A failure of the sink. Nothing of the transaction that failed is in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused these messages of one transaction, in their order; the first is mostly the cause of the rest.
    #[error("{}", refusals(.0))]
    Refused(Vec<Refusal>),
    /// Another process that lives owns the table: an agent that has not ended yet. Try again.
    #[error("table inet {TABLE} is owned by the process with netlink port {port}")]
    Owned {
        /// Netlink port of its socket; mostly its process id.
        port: u32,
    },
    /// The desired table contradicts itself: our bug. Nothing was sent.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistency),
    /// The socket could not be used.
    #[error("{object}: {source}")]
    Io {
        /// What was being done.
        object: &'static str,
        /// What the system call said.
        source: io::Error,
    },
}

/// One message that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the message was about.
    pub subject: Subject,
    /// Why, as a number.
    pub errno: Errno,
    /// The kernel's own words (extended acknowledgement), if it had any.
    pub reason: Option<String>,
}

/// An object of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The table itself.
    Table,
    /// A set, as a whole.
    Set(SetName),
    /// A verdict map, as a whole.
    Map(SetName),
    /// An element of a set or map.
    Element {
        /// Set or map.
        set: SetName,
        /// The element, where the kernel said which one.
        element: Option<Element>,
    },
    /// A chain, as a whole.
    Chain(ChainName),
    /// A rule.
    Rule {
        /// Its chain.
        chain: ChainName,
        /// Its place among the chain's rules, from 0.
        index: usize,
    },
    /// The transaction as such, or everything in it.
    Transaction,
}

impl Error {
    pub(super) fn io(object: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { object, source }
    }

    /// Whether the kernel does not hold what we believed, so that reading it again is the cure.
    pub(super) fn is_mismatch(&self) -> bool {
        let mismatch = [Errno::ENOENT, Errno::EEXIST, Errno::EBUSY, Errno::ENOTEMPTY];
        matches!(self, Self::Refused(refusals) if refusals.iter().any(|refusal| mismatch.contains(&refusal.errno)))
    }

    /// Whether the kernel does not know the flags that make a process own a table.
    pub(super) fn is_without_ownership(&self) -> bool {
        let unsupported = |refusal: &Refusal| {
            refusal.subject == Subject::Table
                && matches!(refusal.errno, Errno::EOPNOTSUPP | Errno::EINVAL)
        };
        matches!(self, Self::Refused(refusals) if refusals.iter().any(unsupported))
    }
}

fn refusals(all: &[Refusal]) -> String {
    match all {
        [] => "refused".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}; and {} more", rest.len()),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.errno.desc())?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "table inet {TABLE}"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Map(name) => write!(f, "map {name}"),
            Self::Element {
                set,
                element: Some(element),
            } => write!(f, "element {element} of {set}"),
            Self::Element { set, element: None } => write!(f, "elements of {set}"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule { chain, index } => write!(f, "rule {index} of chain {chain}"),
            Self::Transaction => write!(f, "transaction on table inet {TABLE}"),
        }
    }
}
