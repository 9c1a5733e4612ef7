//! The Margay node agent.

fn main() {}
