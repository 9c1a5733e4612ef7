//! The last applied nftables table, kept so that an agent can put it back as its first write.
//!
//! The table outlives its agent, but while none runs nobody protects it: `nft flush ruleset` takes it, and pods would be open until the
//! next agent has listed everything, for as long as the API server is away. What was applied last is nearer to the truth than nothing.

use crate::{
    files,
    kernel::nft::{Image, NftSink, Ownership},
};
use margay_policy::{Index, Table};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Writes are this far apart at least: a table of a hundred thousand addresses is some megabytes.
const COALESCE: Duration = Duration::from_millis(250);
/// After a file system that refused.
const RETRY: Duration = Duration::from_secs(5);

/// A table that was applied, and whether the kernel protects it.
pub(super) type Latest = Option<(Arc<Table>, Ownership)>;

/// The file, mode 0600. In /run: a reboot clears it together with the pods.
#[derive(Clone, Debug)]
pub struct KeptTable {
    path: PathBuf,
}

impl KeptTable {
    /// At `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes sure that a table is in force, before anything else is written or listened to: the one in the kernel if it works, else the
    /// one that was kept, else, on a node with pods, one that drops everything from and to them.
    ///
    /// What fails is logged: the first plan tries again, with its own table.
    pub fn put_back(&self, nft: &mut NftSink, has_pods: bool) {
        if let Err(error) = self.try_put_back(nft, has_pods) {
            tracing::error!(%error, path = %self.path.display(), "the policy table cannot be put back; it is made anew once everything is listed");
        }
    }

    fn try_put_back(&self, nft: &mut NftSink, has_pods: bool) -> anyhow::Result<()> {
        let closed = Index::default().table();
        if nft.works(&closed)? {
            return Ok(());
        }
        if let Some(image) = self.load() {
            match nft.put_back(&image) {
                Ok(()) => {
                    tracing::warn!(path = %self.path.display(), "the policy table was deleted or flushed while no agent ran: put back as it was applied last");
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(%error, path = %self.path.display(), "the kept policy table is refused");
                }
            }
        }
        if has_pods {
            nft.apply(&closed)?;
            tracing::warn!(
                "there is no policy table for the pods of this node: they are cut off until everything is listed"
            );
        }
        Ok(())
    }

    fn load(&self) -> Option<Image> {
        Image::parse(std::fs::read(&self.path).ok()?)
    }

    /// Keeps each new table until cancelled, the newest only when they come fast.
    ///
    /// # Errors
    /// None: a file system that refuses is tried again.
    pub(super) async fn run(
        self,
        mut latest: watch::Receiver<Latest>,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut kept: Option<Arc<Table>> = None;
        loop {
            let new = latest.borrow_and_update().clone();
            let new = new.filter(|(table, _)| kept.as_ref() != Some(table));
            let mut pause = COALESCE;
            if let Some((table, ownership)) = new {
                match self.keep(Arc::clone(&table), ownership).await {
                    Ok(()) => kept = Some(table),
                    Err(error) => {
                        tracing::warn!(%error, path = %self.path.display(), "the applied policy table cannot be kept, trying again");
                        pause = RETRY;
                        latest.mark_changed();
                    }
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = latest.changed() => if changed.is_err() {
                    // The writer of tables ends with the agent.
                    cancel.cancelled().await;
                    return Ok(());
                }
            }
        }
    }

    async fn keep(&self, table: Arc<Table>, ownership: Ownership) -> std::io::Result<()> {
        let path = self.path.clone();
        let write = move || files::replace(&path, Image::of(&table, ownership).bytes());
        tokio::task::spawn_blocking(write)
            .await
            .map_err(std::io::Error::other)?
    }
}

/// Where the table is kept by default.
impl Default for KeptTable {
    fn default() -> Self {
        Self::new(Path::new(margay_proto::names::KEPT_TABLE))
    }
}
