//! The CNI server: the verbs, the attachments' records, and what the runtime finds in its folders.

pub mod conflist;
mod previous;
mod records;
pub mod repair;
pub mod server;
mod turns;

pub use records::{Records, link_name};
pub use turns::Turns;
