//! What the tests ask of a router.

use crate::net::Net;

pub(crate) trait Router {
    fn net(&self) -> &Net;

    /// Whether it has a session with us.
    fn established(&self) -> bool;

    /// What it shows of the route for exactly `prefix`, if it has one from us.
    fn route(&self, prefix: &str) -> Option<String>;

    /// Whether what [`Router::route`] showed is marked as kept during a restart.
    fn is_stale(&self, route: &str) -> bool;
}
