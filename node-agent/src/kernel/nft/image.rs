//! The table as the bytes of one transaction: what can be put back before anybody has said what the table should be.
//!
//! Nothing of it is parsed again, so it needs no format of its own: the kernel reads it as it read the first one, and refuses it whole
//! or takes it whole. The rules' digests are in it, so that the next difference is taken from what was put back.

use margay_policy::{Observed, ObservedChain, Table, diff_observed};

use super::encode::{self, TableFlags};
use super::message::Transaction;
use super::{Error, NftSink, Ownership};

/// The first bytes of a kept image. Another layout of the header gets another number.
const MAGIC: &[u8; 8] = b"mgy-nft1";
/// Behind the magic: the sequence number that is acknowledged, and how many bytes follow.
const HEADER: usize = MAGIC.len() + 4 + 8;

/// A transaction that makes a table anew, whatever is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(Vec<u8>);

impl Image {
    /// That of `table`, to be owned if the kernel lets tables be owned.
    pub fn of(table: &Table, ownership: Ownership) -> Self {
        let flags = match ownership {
            Ownership::Unsupported => TableFlags::None,
            Ownership::Held | Ownership::Unknown => TableFlags::OwnerPersist,
        };
        let whatever = Observed {
            alien: true,
            ..Observed::default()
        };
        let mut transaction = Transaction::new(1);
        for change in diff_observed(&whatever, table)
            .iter()
            .flat_map(|batch| &batch.changes)
        {
            encode::change(change, flags, &mut transaction);
        }
        let finished = transaction.finish();
        let mut image = Vec::with_capacity(HEADER + finished.bytes().len());
        image.extend_from_slice(MAGIC);
        image.extend_from_slice(&finished.acknowledged.to_ne_bytes());
        image.extend_from_slice(&(finished.bytes().len() as u64).to_ne_bytes());
        image.extend_from_slice(finished.bytes());
        Self(image)
    }

    /// As it was kept; none when it is cut off or something else.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let length: [u8; 8] = bytes.get(HEADER - 8..HEADER)?.try_into().ok()?;
        let whole = usize::try_from(u64::from_ne_bytes(length)).ok() == Some(bytes.len() - HEADER);
        (whole && bytes.starts_with(MAGIC)).then_some(Self(bytes))
    }

    /// To be kept.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn acknowledged(&self) -> u32 {
        let bytes = self.0[MAGIC.len()..][..4].try_into();
        u32::from_ne_bytes(bytes.unwrap_or_default())
    }
}

impl NftSink {
    /// Takes possession of the table, if it exists, and says whether it works: each chain that has rules in `least` has some in the
    /// kernel too. A table that was deleted or flushed does not.
    ///
    /// # Errors
    /// As [`Self::adopt`].
    pub fn works(&mut self, least: &Table) -> Result<bool, Error> {
        let observed = self.adopt()?;
        let has_rules = |chain| match observed.chains.get(chain) {
            Some(ObservedChain::Read { rules, .. }) => !rules.is_empty(),
            Some(ObservedChain::Known(chain)) => !chain.rules.is_empty(),
            None => false,
        };
        let mut wanted = least.chains.iter().filter(|(_, c)| !c.rules.is_empty());
        Ok(wanted.all(|(name, _)| has_rules(name)))
    }

    /// Makes the table anew as the image says, and reads it.
    ///
    /// # Errors
    /// The kernel refused it: nothing of it is applied.
    pub fn put_back(&mut self, image: &Image) -> Result<(), Error> {
        self.mirror = None;
        self.socket
            .replay(&image.0[HEADER..], image.acknowledged())
            .map_err(Error::io("putting the table back"))?;
        self.adopt().map(drop)
    }
}
