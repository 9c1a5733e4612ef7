//! Configuration files as pure functions of the [`Plan`](crate::plan::Plan): no file is read or written here.

pub(crate) mod bird;
pub(crate) mod cluster;
pub(crate) mod dns;
pub(crate) mod frr;
pub(crate) mod node;
