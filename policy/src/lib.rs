//! NetworkPolicy to nftables as data.
//!
//! ```text
//!  Pods, Namespaces ─┐                                   ┌─ render ──► text for people and `nft -c`
//!  NetworkPolicies ──┼─► Index ──► compile ──► Table ────┼─ diff ────► Batch of Changes ──► nfnetlink (elsewhere)
//!  Endpoints ────────┘   (index)   (classes)   (table)   └─ evaluate ► what the kernel would do ─┐
//!  the same objects ───────────────► verdict ──► what Kubernetes says should happen ─────────────┴─ must be equal
//! ```
//! Everything here decides and nothing here does: no clock, no socket, no task. The [`Index`] is fed by watches and asked
//! for a [`Table`]; [`diff`](diff::diff) orders what must change so that packets see the old policy or the new one and
//! nothing between. The [`verdict`] oracle shares no code with the compiler; random clusters must be judged alike by both.
//!
//! Review notes: names of sets and classes are hashes of their content, so equality of names is equality of content; an
//! object that cannot be read isolates what it selects; nothing that depends on the order of events may enter a table.

mod compile;
pub mod diff;
mod group;
pub mod index;
mod layout;
mod policy;
mod ranges;
pub mod selector;
pub mod table;
pub mod verdict;

pub use diff::{Batch, Change, Observed, ObservedChain, diff, diff_observed};
pub use index::{Endpoint, Index};
pub use layout::Masquerade;
pub use policy::{Direction, Problem};
pub use table::Table;
