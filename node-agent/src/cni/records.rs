//! Attachments: one record a container and interface, one file each in /run so that a reboot clears them.
//!
//! The record is written before any link is made and removed after it is gone, so that an agent killed between two lines finds at its next
//! start what it has to finish or to undo.

use crate::fault;
use margay_ipam::{Attachment, AttachmentKey};
use margay_proto::names;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Name of the host side link of an attachment.
pub fn link_name(key: &AttachmentKey) -> String {
    names::link_name(&key.container_id, &key.ifname)
}

/// The records: in memory for this agent, in their folder for the next. Clones share them.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
    /// By link name. Held for a look-up, never across an await.
    held: Arc<Mutex<BTreeMap<String, Attachment>>>,
}

impl Records {
    /// Opens (and makes) the folder, at start and before anybody writes to it. What an earlier agent left half written is removed: no link was
    /// made for it.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: impl Into<PathBuf>) -> std::io::Result<Self> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)?;
        let mut held = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let whole = is_record(&path).then(|| std::fs::read(&path)).transpose()?;
            if let Some(attachment) = whole.and_then(|bytes| parse(&bytes)) {
                held.insert(link_name(&attachment.key), attachment);
            } else {
                tracing::warn!(path = %path.display(), "unreadable attachment record removed");
                std::fs::remove_file(&path)?;
            }
        }
        Ok(Self {
            folder,
            held: Arc::new(Mutex::new(held)),
        })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Attachment>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every record, in order of link name; ADD and DEL may go on meanwhile.
    pub fn all(&self) -> Vec<Attachment> {
        self.held().values().cloned().collect()
    }

    /// The record of a link by the link's name.
    pub fn of_link(&self, link: &str) -> Option<Attachment> {
        self.held().get(link).cloned()
    }

    /// Writes the file of a link's record again if somebody removed or changed it; true when it did. The caller has the link's turn.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn keep(&self, link: &str) -> std::io::Result<bool> {
        let Some(attachment) = self.of_link(link) else {
            return Ok(false);
        };
        let file = std::fs::read(self.path(&attachment.key)).ok();
        if file.and_then(|bytes| parse(&bytes)).as_ref() == Some(&attachment) {
            return Ok(false);
        }
        std::fs::create_dir_all(&self.folder)?;
        self.put(&attachment).map(|()| true)
    }

    /// Writes a record so that it is there whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses (full, read-only).
    pub fn put(&self, attachment: &Attachment) -> std::io::Result<()> {
        let path = self.path(&attachment.key);
        let partial = path.with_extension("partial");
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(&serde_json::to_vec(attachment)?)?;
        fault::point("add: record written aside");
        std::fs::rename(partial, path)?;
        self.held()
            .insert(link_name(&attachment.key), attachment.clone());
        Ok(())
    }

    /// Removes a record; one that is gone is fine.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, key: &AttachmentKey) -> std::io::Result<()> {
        match std::fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.held().remove(&link_name(key));
        Ok(())
    }

    /// The link name is a hash of both, has no separator in it, and is what the kernel object is called too.
    fn path(&self, key: &AttachmentKey) -> PathBuf {
        self.folder.join(format!("{}.json", link_name(key)))
    }
}

fn is_record(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json")
}

fn parse(bytes: &[u8]) -> Option<Attachment> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use margay_ipam::Netns;

    fn attachment() -> Attachment {
        Attachment {
            key: AttachmentKey::new("c1", "eth0"),
            namespace: "default".into(),
            pod: "a".into(),
            uid: "u".into(),
            netns: Netns {
                path: "/proc/self/ns/net".into(),
                device: 4,
                inode: 5,
            },
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        }
    }

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("margay-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_was_being_written_is_no_record() {
        let folder = folder("records-writing");
        let records = Records::open(&folder).unwrap();
        records.put(&attachment()).unwrap();
        let partial = folder.join("mgy000000000001.partial");
        for half in [
            &b"{\"containerId\":"[..],
            &serde_json::to_vec(&attachment()).unwrap(),
        ] {
            std::fs::write(&partial, half).unwrap();
            let records = Records::open(&folder).unwrap();
            assert_eq!(records.all(), [attachment()], "neither torn nor twice");
            assert!(!partial.exists(), "its writer died");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_somebody_removed_or_tore_is_written_again() {
        let folder = folder("records-kept");
        let records = Records::open(&folder).unwrap();
        records.put(&attachment()).unwrap();
        let link = link_name(&attachment().key);
        assert!(!records.keep(&link).unwrap(), "it is there");
        std::fs::write(folder.join(format!("{link}.json")), b"").unwrap();
        assert!(records.keep(&link).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(records.keep(&link).unwrap());
        assert_eq!(Records::open(&folder).unwrap().all(), [attachment()]);
        records.remove(&attachment().key).unwrap();
        assert!(!records.keep(&link).unwrap(), "DEL has been here");
        assert!(Records::open(&folder).unwrap().all().is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn records_come_back_and_go() {
        let attachment = attachment();
        let folder = folder("records");
        let records = Records::open(&folder).unwrap();
        records.put(&attachment).unwrap();
        std::fs::write(folder.join("mgytorn.json"), b"{\"containerId\":").unwrap();
        let records = Records::open(&folder).unwrap();
        assert!(!folder.join("mgytorn.json").exists());
        assert_eq!(records.all(), vec![attachment.clone()]);
        records.remove(&attachment.key).unwrap();
        records.remove(&attachment.key).unwrap();
        assert!(records.all().is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
