//! Files that outlive the agent.

use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path};

/// Writes a file of mode 0600 so that it is there whole or as before.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(partial, path)
}
