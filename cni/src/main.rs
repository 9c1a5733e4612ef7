//! The Margay CNI plugin.

fn main() {}
