//! The DaemonSet's program.

pub mod kernel;
pub mod speaker;
