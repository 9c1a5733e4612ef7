//! Network namespaces of pods: what a path names, whether it is still there, and short work inside.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// What tells one network namespace from another that later sits at the same path.
///
/// An address is free when its recorded namespace is gone, so this is written beside the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Where the runtime keeps it.
    pub path: PathBuf,
    /// Device number of the namespace file.
    pub device: u64,
    /// Inode number of the namespace file.
    pub inode: u64,
}

impl Identity {
    /// The identity of the namespace at this path.
    ///
    /// # Errors
    /// [`Error::NotANamespace`] when there is none.
    pub fn of(path: &Path) -> Result<Self, Error> {
        Ok(Netns::open(path)?.identity)
    }

    /// Whether that namespace is no longer at its path: nothing is there, or something else.
    ///
    /// A path that cannot be looked at counts as still there: an address is never freed by a permission error.
    pub fn is_gone(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) != (self.device, self.inode),
            Err(e) => matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        }
    }
}

/// An open network namespace, kept alive by the file.
#[derive(Debug)]
pub struct Netns {
    file: File,
    identity: Identity,
}

impl Netns {
    /// Opens the namespace at this path.
    ///
    /// # Errors
    /// [`Error::NotANamespace`] with the reason, when the path names no namespace.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refuse = |why: String| Error::NotANamespace {
            path: path.to_owned(),
            why,
        };
        let file = File::open(path).map_err(|e| refuse(e.to_string()))?;
        let kind = fstatfs(&file)
            .map_err(|e| refuse(e.to_string()))?
            .filesystem_type();
        if kind != NSFS_MAGIC {
            return Err(refuse("an ordinary file".into()));
        }
        let found = file.metadata().map_err(|e| refuse(e.to_string()))?;
        let identity = Identity {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        };
        Ok(Self { file, identity })
    }

    /// What to record about it.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The open file, for `IFLA_NET_NS_FD`.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Does something short inside the namespace, on a thread of its own that ends with it.
    ///
    /// A thread of a runtime never changes its namespace: whatever ran on it next would write into the pod.
    ///
    /// # Errors
    /// Whatever the work returns; [`Error::NotANamespace`] for a namespace of another kind.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        let inside = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|e| Error::NotANamespace {
                path: self.identity.path.clone(),
                why: e.to_string(),
            })?;
            work()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("pod-netns".into())
                .spawn_scoped(scope, inside);
            match thread
                .map_err(|e| Error::io("thread for the pod's namespace", e))?
                .join()
            {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testnet::Namespace;

    #[test]
    fn other_things_are_refused_with_the_path_and_the_reason() {
        for (path, reason) in [
            ("/proc/self/status", "ordinary file"),
            ("/no/such/path", "No such file"),
        ] {
            let error = Netns::open(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(reason), "{error}");
        }
        let other_kind = Netns::open(Path::new("/proc/self/ns/uts")).unwrap();
        assert!(matches!(
            other_kind.run(|| Ok(())),
            Err(Error::NotANamespace { .. })
        ));
    }

    #[test]
    fn an_identity_ends_with_its_namespace() {
        let namespace = Namespace::new();
        let identity = Identity::of(namespace.path()).unwrap();
        assert!(!identity.is_gone());
        assert_eq!(
            serde_json::from_str::<Identity>(&serde_json::to_string(&identity).unwrap()).unwrap(),
            identity
        );
        let other = Namespace::new();
        let moved = Identity {
            path: other.path().to_owned(),
            ..identity.clone()
        };
        assert!(moved.is_gone(), "another namespace at the path is not ours");
        drop(namespace);
        // Its thread may still be on the way out of /proc.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !identity.is_gone() {
            assert!(
                std::time::Instant::now() < deadline,
                "the namespace never went"
            );
            std::thread::yield_now();
        }
    }
}
