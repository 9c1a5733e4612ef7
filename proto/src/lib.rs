//! Data that crosses a process boundary.
