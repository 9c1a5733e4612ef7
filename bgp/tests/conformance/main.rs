//! The numbered conformance list: RFC 4271 and its successors, item by item, over the public API only.
//!
//! ```text
//!   octets written by hand ─► Speaker ─► octets read by hand, events, routes for the kernel
//! ```
//! A test's name begins with the number of its item (`item_041_…`); one item may have several tests, and some live
//! beside what they need (the kernel's routes in `node-agent`, sockets in `bgp_interop`). [`coverage`] counts them all
//! and says what is open. Neither the messages sent nor those heard pass through this crate's own encoder or
//! decoder: an error that both had in common would be seen.
//!
//! | module | items | what |
//! |---|---|---|
//! | `header` | 1-6 | framing |
//! | `open` | 7-21 | OPEN and capabilities |
//! | `collision` | 24 | two connections at once |
//! | `fsm`, `attempts` | 25-40 | the state machine: what ends a session, when we dial |
//! | `table`, `stage` | | every event in every state |
//! | `update` | 41-59 | where an UPDATE ends and what one error does to it |
//! | `attributes`, `path` | 60-88 | each attribute |
//! | `refresh` | 89-90 | ROUTE-REFRESH |
//! | `restart` | 92-102 | graceful restart, both roles |
//! | `decision` | 107-109 | best path as peers see it |

#![allow(clippy::unwrap_used, reason = "a test panics on everything unexpected")]

mod attempts;
mod attributes;
mod collision;
mod coverage;
mod decision;
mod fsm;
mod header;
mod octets;
mod open;
mod outcome;
mod path;
mod refresh;
mod restart;
mod script;
mod stage;
mod table;
mod update;
