//! CNI JSON: what a container runtime writes to a plugin's standard input and reads from its standard output.
//!
//! ```text
//!  runtime ──NetworkConfig──► plugin ──AddResult | VersionReply | Error──► runtime
//! ```
//!
//! Only parsing and printing; the plugin and the agent share it, so that both refuse the same configuration with the same words.
//! [CNI specification 1.1.0](https://www.cni.dev/docs/spec/), sections 2 (environment, verbs) and 5 (result types). One shape of result is kept
//! in memory, that of the newest version; [`AddResult::in_version`] writes the older ones.
//! Missing on purpose: 0.1.0 to 0.3.0 (no runtime of a supported Kubernetes speaks them) and delegated plugins (addresses are the agent's).

mod cidr;
mod config;
mod error;
#[cfg(feature = "rpc")]
mod reply;
mod result;
mod version;

pub use cidr::Cidr;
pub use config::{Attachment, NetworkConfig, is_name};
pub use error::{Code, Error};
pub use result::{AddResult, Dns, Interface, IpConfig, IpVersion, Route};
pub use version::{Version, VersionReply};
