//! What guards a session below BGP: its password, and how far away the peer may be.

use super::{Identity, Inputs, facing};
use crate::{engine::passwords, kernel::underlay::Snapshot};
use margay_bgp::{Asn, Password, PeerConfig, Reach};
use margay_proto::crd::BGPPeerSpec;

/// What one BGPPeer demands of its sessions.
pub(super) struct Guard<'a> {
    spec: &'a BGPPeerSpec,
    password: Result<Option<Password>, String>,
}

impl<'a> Guard<'a> {
    /// Of the object `name`.
    pub(super) fn of(inputs: &Inputs, spec: &'a BGPPeerSpec, name: &str) -> Self {
        let asked = spec.authentication.as_ref();
        let password = asked.map(|asked| passwords::password(inputs, asked));
        Self {
            spec,
            password: password
                .transpose()
                .map_err(|why| format!("{name}: {why}; the session is held down")),
        }
    }

    /// Why the sessions are held down, if they are.
    pub(super) fn fault(&self) -> Option<String> {
        self.password.as_ref().err().cloned()
    }

    /// Guards a session, or holds it down: never weaker than it was asked for.
    pub(super) fn protect(
        &self,
        peer: &mut PeerConfig,
        identity: &Identity,
        kernel: Option<&Snapshot>,
    ) {
        peer.protection.reach = self.reach(peer, identity, kernel);
        match &self.password {
            Ok(password) => peer.protection.password.clone_from(password),
            Err(why) => peer.held_down = Some(why.clone()),
        }
    }

    /// External routers are neighbours unless they are said to be further (RFC 4271 section 5.1.3 calls that multihop); one that is on
    /// no link of the node cannot be one.
    fn reach(&self, peer: &PeerConfig, identity: &Identity, kernel: Option<&Snapshot>) -> Reach {
        let own = Asn(identity.asn);
        let is_external = !peer.remote_as.admits(own, own);
        let is_router = self.spec.address.is_some();
        let on_link = || kernel.is_some_and(|kernel| facing(kernel, peer.address).is_some());
        match (self.spec.ttl_security, self.spec.multihop) {
            (true, hops) => Reach::Secured(hops.unwrap_or(1)),
            (false, Some(hops)) => Reach::Within(hops),
            (false, None) if is_router && is_external && on_link() => Reach::Within(1),
            (false, None) => Reach::Anywhere,
        }
    }
}
