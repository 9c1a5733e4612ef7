//! Everything that writes to the kernel, and nothing else does.

pub mod nft;
