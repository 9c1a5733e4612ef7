//! nftables: the sink that makes a `Table` true in one netlink transaction.
