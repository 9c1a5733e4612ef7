//! NetworkPolicy to nftables as data.
