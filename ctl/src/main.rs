//! The Margay command line.

fn main() {}
