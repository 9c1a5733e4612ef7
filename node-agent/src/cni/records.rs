//! Attachments: one record a container and interface, one file each in /run so that a reboot clears them.
//!
//! The record is written before any link is made and removed after it is gone, so that an agent killed between two lines finds at its next
//! start what it has to finish or to undo.

use crate::fault;
use margay_ipam::{Attachment, AttachmentKey};
use margay_proto::names;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Name of the host side link of an attachment.
pub fn link_name(key: &AttachmentKey) -> String {
    names::link_name(&key.container_id, &key.ifname)
}

/// The folder of records.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
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
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let whole = is_record(&path) && parse(&std::fs::read(&path)?).is_some();
            if !whole {
                tracing::warn!(path = %path.display(), "unreadable attachment record removed");
                std::fs::remove_file(&path)?;
            }
        }
        Ok(Self { folder })
    }

    /// Every record, in order of link name; ADD and DEL may go on meanwhile.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn load(&self) -> std::io::Result<Vec<Attachment>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if !is_record(&path) {
                // It is being written.
                continue;
            }
            match std::fs::read(&path) {
                // DEL was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                read => all.extend(parse(&read?)),
            }
        }
        all.sort_by_cached_key(|a| link_name(&a.key));
        Ok(all)
    }

    /// The record of a link by the link's name; none when there is none or it is torn.
    pub fn of_link(&self, link: &str) -> Option<Attachment> {
        parse(&std::fs::read(self.folder.join(format!("{link}.json"))).ok()?)
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
        std::fs::rename(partial, path)
    }

    /// Removes a record; one that is gone is fine.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, key: &AttachmentKey) -> std::io::Result<()> {
        match std::fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
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
    fn a_record_that_is_being_written_is_left_alone() {
        let folder = folder("records-writing");
        let records = Records::open(&folder).unwrap();
        records.put(&attachment()).unwrap();
        let partial = folder.join("mgy000000000001.partial");
        for half in [
            &b"{\"containerId\":"[..],
            &serde_json::to_vec(&attachment()).unwrap(),
        ] {
            std::fs::write(&partial, half).unwrap();
            assert_eq!(
                records.load().unwrap(),
                vec![attachment()],
                "neither torn nor twice"
            );
            assert!(partial.exists(), "its writer renames it in a moment");
        }
        Records::open(&folder).unwrap();
        assert!(!partial.exists(), "its writer died");
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
        assert_eq!(records.load().unwrap(), vec![attachment.clone()]);
        records.remove(&attachment.key).unwrap();
        records.remove(&attachment.key).unwrap();
        assert!(records.load().unwrap().is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
