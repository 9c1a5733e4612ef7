//! Pools, blocks and addresses as decisions: no clock, no task, no socket. `now` is a duration since any fixed moment of the caller's.
//!
//! ```text
//!  IPPool ──► Pool ──────┐                       ┌── Attachment: what the caller records before it answers
//!  IPBlock ─► Block ─────┼──► Allocator ─────────┼── published(): what the owner writes to its IPBlock
//!  attachments on disk ──┘   (one task owns it)  └── ClaimRequest ──► claim(Store) ──► Block ──► Allocator
//!
//!  IPPools + IPBlocks ──► activation() ──► the operator's `Active` and `Overlap` conditions
//! ```
//!
//! A block has one writer, its owner: creating the object whose name is canonical for its cidr is the claim, and the API server arbitrates.
//! All blocks of a pool have one size, so equal names decide everything; what could break that (a pool made anew with another size, two pools
//! over the same addresses) keeps a pool inactive, and agents claim from active pools only.
//!
//! An address is used, resting or free. It becomes free only by [`Allocator::release`], never because a watch said something, and then rests
//! [`QUARANTINE`] before it is handed out again. Resting addresses are not remembered across a restart of the agent.

mod activation;
mod address;
mod allocator;
mod attachment;
mod block;
mod candidates;
mod claim;
mod pool;
mod slots;
mod store;
mod wish;

pub use activation::{Activation, OverlapWith, Verdict, activation};
pub use address::{Family, Ordinal, overlaps};
pub use allocator::{Adoption, Allocator, ClaimRequest, EXHAUSTED_RETRY, NotFor, Refusal};
pub use attachment::{Attachment, AttachmentKey, Netns};
pub use block::{Block, InvalidBlock, cidr_of_name};
pub use candidates::{Candidates, candidates};
pub use claim::{Claimant, Outcome, claim, claim_exactly, publication, publish, release};
pub use pool::{InvalidPool, Pool};
pub use slots::QUARANTINE;
pub use store::{MemStore, Store, StoreError};
pub use wish::{Annotations, Named, Wish};
