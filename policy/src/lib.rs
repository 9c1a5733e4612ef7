//! NetworkPolicy to nftables as data.

pub mod diff;
mod policy;
mod ranges;
pub mod selector;
pub mod table;

pub use diff::{Batch, Change, Observed, ObservedChain, diff, diff_observed};
pub use table::Table;
