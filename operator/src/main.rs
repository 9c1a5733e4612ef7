//! Installs Margay and runs its cluster-wide controllers.

fn main() {}
