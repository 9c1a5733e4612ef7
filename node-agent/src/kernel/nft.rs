//! nftables: the sink that makes a [`Table`] true.
//!
//! ```text
//!            desired Table
//!                 │ difference to the mirror (margay_policy::diff_observed: pure)
//!  mirror ───► Batch ... ───► encode ───► one send = one transaction ───► kernel
//!    ▲           (changes)     (bytes)     refused: nothing is applied      │
//!    └───────────── applied: the mirror is the desired table                │
//!    └───────────── read: no mirror yet, or the kernel contradicts it ◄─────┘
//! ```
//! Netlink is written here by hand, without `nft` and its libraries: a change costs microseconds, every refusal comes with the
//! object that it is about, and the same socket that writes can own the table.
//!
//! **Ownership.** With `NFT_TABLE_F_OWNER` nobody but this socket can change the table, not even `nft flush ruleset`; with
//! `NFT_TABLE_F_PERSIST` (Linux 6.9) the table stays when the socket closes, and the next agent takes it over. Together or
//! not at all: owner without persist would take the policy away with the agent. Where the kernel has neither, foreign
//! changes are noticed by [`Watch`] or by a refused transaction, and repaired after reading the table again.
//!
//! **What is read back.** Sets and maps with their elements; chains with their hook and, for each rule, the digest of the
//! rule's text, which the encoder leaves in the rule's userdata. The expressions themselves are never parsed.
//!
//! Everything is synchronous, because the kernel is: some microseconds for a change, up to some hundred milliseconds for the
//! first load of a hundred thousand addresses. A task calls it with `tokio::task::block_in_place`.

mod encode;
mod error;
mod expression;
mod foreign;
mod image;
mod key;
mod message;
mod read;
mod socket;
mod watch;

#[cfg(test)]
mod tests;

use margay_policy::table::TABLE;
use margay_policy::{Batch, Observed, Table, diff_observed};

pub use self::error::{Error, Refusal, Subject};
pub use self::foreign::{ForeignDrop, foreign_drops};
pub use self::image::Image;
pub use self::watch::Watch;

use self::encode::{TABLE_OWNER, TABLE_PERSIST, TableFlags};
use self::message::Transaction;
use self::read::FoundTable;
use self::socket::Socket;

/// Name of the table that is made and unmade in one transaction, never seen by anybody, to learn what the kernel can do.
const PROBE: &str = "margay-probe";
/// `NFT_TABLE_F_DORMANT`: the table is there and does nothing.
const TABLE_DORMANT: u32 = 1;

/// The one writer of table `inet margay` in the network namespace where it was opened.
#[derive(Debug)]
pub struct NftSink {
    socket: Socket,
    ownership: Ownership,
    /// What the kernel holds; none when it has to be read.
    mirror: Option<Mirror>,
}

/// Whether the kernel protects the table against everybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// There was no table yet to be owned.
    Unknown,
    /// It belongs to this socket.
    Held,
    /// The kernel is too old (before 6.9): anybody with the capability may change the table.
    Unsupported,
}

/// What one call has done to the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Transactions that were committed.
    pub transactions: usize,
    /// Changes in them; one may be thousands of elements of a set.
    pub changes: usize,
    /// The kernel refused a transaction because it did not hold what had been written: somebody else was at the table.
    pub repaired: bool,
}

impl Applied {
    /// Nothing was written.
    pub fn is_unchanged(&self) -> bool {
        self.transactions == 0
    }
}

#[derive(Debug, Default)]
struct Mirror {
    exists: bool,
    content: Observed,
}

impl NftSink {
    /// Opens the socket in the calling thread's network namespace. Reads and writes nothing.
    ///
    /// # Errors
    /// No netlink socket of nf_tables.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open().map_err(Error::io("nfnetlink socket"))?;
        Ok(Self {
            socket,
            ownership: Ownership::Unknown,
            mirror: None,
        })
    }

    /// Takes possession of the table if it exists, and reads it. Makes nothing, and changes nothing in it.
    ///
    /// # Errors
    /// [`Error::Owned`] while another live process owns it; a socket that does not work.
    pub fn adopt(&mut self) -> Result<&Observed, Error> {
        self.mirror = None;
        let Some(found) = read::table(&mut self.socket).map_err(Error::io("reading the table"))?
        else {
            return Ok(&self.mirror.insert(Mirror::default()).content);
        };
        let in_order = self.take(found)?;
        let mut content =
            read::content(&mut self.socket).map_err(Error::io("reading the table's content"))?;
        // Neither ownership nor the state of a dormant table can be changed in place.
        content.alien |= !in_order;
        Ok(&self
            .mirror
            .insert(Mirror {
                exists: true,
                content,
            })
            .content)
    }

    /// Makes the kernel hold this table: writes the difference to what it holds, nothing when there is none.
    ///
    /// One transaction, so that no packet ever sees a part of it; only the elements of new large sets go ahead of it.
    /// When the kernel contradicts the mirror, the table is read again and repaired, at last by making it anew.
    ///
    /// # Errors
    /// Nothing of the refused transaction is applied. It is always right to call again, with the same or another table.
    pub fn apply(&mut self, table: &Table) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        if self.mirror.is_none() {
            self.adopt()?;
        }
        let mut outcome = self.write_difference(table, &mut applied);
        for anew in [false, true] {
            let Err(error) = &outcome else { break };
            if !error.is_mismatch() {
                break;
            }
            // The same answer comes when the desired table refers to what it does not declare.
            table.check()?;
            tracing::warn!(%error, "table inet {TABLE} is not as this agent left it: reading it again");
            self.adopt()?;
            if let (true, Some(mirror)) = (anew, &mut self.mirror) {
                mirror.content.alien |= mirror.exists;
            }
            applied.repaired = true;
            outcome = self.write_difference(table, &mut applied);
            if anew && outcome.is_err() {
                // The mirror says no more than that all is to be made anew.
                self.mirror = None;
            }
        }
        outcome.map(|()| applied)
    }

    /// Reads the table again and makes it so. [`Applied::is_unchanged`] says that it was as it should be.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn verify(&mut self, table: &Table) -> Result<Applied, Error> {
        self.adopt()?;
        self.apply(table)
    }

    /// Notices foreign changes from now on. While the table is owned there can be none, and it costs nothing.
    ///
    /// Ask again when [`Self::ownership`] has changed. Must be called in the sink's network namespace and in a tokio runtime.
    ///
    /// # Errors
    /// No netlink socket of nf_tables.
    pub fn watch(&self) -> Result<Watch, Error> {
        match self.ownership {
            Ownership::Held => Ok(Watch::idle()),
            Ownership::Unknown | Ownership::Unsupported => {
                Watch::listen(self.socket.port()).map_err(Error::io("notifications of nf_tables"))
            }
        }
    }

    /// Whether the kernel protects the table.
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// Takes a table into possession; false when it has to be made anew for that.
    fn take(&mut self, found: FoundTable) -> Result<bool, Error> {
        let ours = found.owner == Some(self.socket.port());
        if let (Some(port), false) = (found.owner, ours) {
            return Err(Error::Owned { port });
        }
        if found.flags & TABLE_DORMANT != 0 {
            return Ok(false);
        }
        if ours {
            self.ownership = Ownership::Held;
        } else if found.flags & TABLE_PERSIST != 0 && self.ownership != Ownership::Unsupported {
            self.transact(|transaction| {
                encode::new_table(TABLE, TableFlags::OwnerPersist, transaction)
            })?;
            self.ownership = Ownership::Held;
        } else if self.ownership != Ownership::Unsupported && found.flags & TABLE_OWNER == 0 {
            self.probe()?;
            // The kernel lets nobody own a table that was not made for it.
            return Ok(self.ownership == Ownership::Unsupported);
        }
        Ok(true)
    }

    /// Whether the kernel lets a table be owned, asked with one that nobody sees.
    fn probe(&mut self) -> Result<(), Error> {
        let probed = self.transact(|transaction| {
            encode::new_table(PROBE, TableFlags::OwnerPersist, transaction);
            encode::delete_table(PROBE, transaction);
        });
        match probed {
            Err(error) if error.is_without_ownership() => self.do_without_ownership(&error),
            other => other?,
        }
        Ok(())
    }

    fn do_without_ownership(&mut self, error: &Error) {
        tracing::warn!(%error, "this kernel cannot protect table inet {TABLE}: foreign changes are repaired, not refused");
        self.ownership = Ownership::Unsupported;
    }

    fn write_difference(&mut self, table: &Table, applied: &mut Applied) -> Result<(), Error> {
        let mirror = self.mirror.get_or_insert_default();
        let (exists, batches) = (mirror.exists, diff_observed(&mirror.content, table));
        for (written, batch) in batches.iter().enumerate() {
            if let Err(error) = self.write(batch, exists || written > 0) {
                // What came before is in the kernel.
                self.mirror = self.mirror.take().filter(|_| written == 0);
                return Err(error);
            }
            applied.transactions += 1;
            applied.changes += batch.changes.len();
        }
        if !batches.is_empty() {
            self.mirror = Some(Mirror {
                exists: true,
                content: Observed::from(table),
            });
        }
        Ok(())
    }

    /// Writes one batch; when it is to make the table, with ownership if the kernel has it.
    fn write(&mut self, batch: &Batch, exists: bool) -> Result<(), Error> {
        if self.ownership == Ownership::Unsupported {
            return self.write_with(batch, exists, TableFlags::None);
        }
        match self.write_with(batch, exists, TableFlags::OwnerPersist) {
            Err(error) if error.is_without_ownership() => {
                self.do_without_ownership(&error);
                self.write_with(batch, exists, TableFlags::None)
            }
            Ok(()) => {
                // Whatever table was there before had been taken, or has been made just now.
                self.ownership = Ownership::Held;
                Ok(())
            }
            other => other,
        }
    }

    fn write_with(&mut self, batch: &Batch, exists: bool, flags: TableFlags) -> Result<(), Error> {
        self.transact(|transaction| {
            if !exists {
                encode::new_table(TABLE, flags, transaction);
            }
            batch
                .changes
                .iter()
                .for_each(|change| encode::change(change, flags, transaction));
        })
    }

    fn transact(&mut self, fill: impl FnOnce(&mut Transaction)) -> Result<(), Error> {
        let mut transaction = Transaction::new(self.socket.sequence());
        fill(&mut transaction);
        if transaction.is_empty() {
            return Ok(());
        }
        self.socket
            .transact(&transaction.finish())
            .map_err(Error::io("writing the table"))?
            .map_err(Error::Refused)
    }
}
