//! Everything that writes to the kernel, and nothing else does.
//!
//! ```text
//!   events ──► underlay ──► snapshot (how next hops resolve, the node's addresses)
//!     │
//!     └──────► route (sink) ◄── RouteSet        link: pod wires     sysctl: forwarding
//!                └─ nexthop (which objects)     netns: their homes  nft: the one table
//!                                               conntrack: flows of an address that changed hands
//! ```

pub mod conntrack;
mod error;
pub mod events;
pub mod link;
mod netlink;
pub mod netns;
pub mod nexthop;
pub mod nft;
pub mod route;
pub(crate) mod scheduling;
pub mod survey;
pub mod sysctl;
#[cfg(test)]
pub(crate) mod testnet;
pub mod underlay;

pub use error::Error;
