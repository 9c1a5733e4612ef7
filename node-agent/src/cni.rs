//! The CNI server: the verbs, the attachments' records, and what the runtime finds in its folders.

mod add;
mod check;
pub mod conflist;
mod del;
mod gc;
mod previous;
mod records;
mod refusal;
pub mod repair;
pub mod server;
mod told;
mod turns;

pub use records::{Records, link_name};
pub use refusal::Refusal;
pub use told::Told;
pub use turns::Turns;
