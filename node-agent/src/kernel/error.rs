//! What can go wrong between the agent and the kernel, each error naming the object it is about.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// A failure of the kernel, of a namespace path, or of what was found there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("{object}: {}{}", .errno.desc(), reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default())]
    Refused {
        /// The link, address, route or nexthop the request was about.
        object: String,
        /// Why, as a number.
        errno: Errno,
        /// The kernel's own words (extended acknowledgement), if it had any.
        reason: Option<String>,
    },
    /// A socket or file could not be used.
    #[error("{object}: {source}")]
    Io {
        /// The file or socket.
        object: String,
        /// What the system call said.
        source: io::Error,
    },
    /// The path is no network namespace.
    #[error("{path} is not a network namespace: {why}")]
    NotANamespace {
        /// The path that the runtime named.
        path: PathBuf,
        /// What is there instead.
        why: String,
    },
    /// Something of another owner is in the way; it is left alone.
    #[error("{0}")]
    Foreign(String),
    /// A pod link is not as it should be; one sentence for every difference.
    #[error("{}", .0.join("; "))]
    Mismatch(Vec<String>),
    /// A step failed, and so did steps of undoing the ones before it.
    #[error("{first}; undoing it: {}", undo.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several {
        /// The failure that made everything before it be undone.
        first: Box<Self>,
        /// Failures while undoing.
        undo: Vec<Self>,
    },
}

impl Error {
    pub(crate) fn io(object: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            object: object.into(),
            source,
        }
    }

    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Io { source, .. } => source.raw_os_error().map(Errno::from_raw),
            Self::Several { first, .. } => first.errno(),
            Self::NotANamespace { .. } | Self::Foreign(_) | Self::Mismatch(_) => None,
        }
    }
}
