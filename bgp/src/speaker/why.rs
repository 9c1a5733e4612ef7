//! Explanations: the decisions about one prefix made once more, aloud.

use super::Speaker;
use super::peer::Peer;
use super::routes::{facing, importer};
use super::snapshot::described;
use crate::rib::Source;
use crate::rib::decision::Reason;
use crate::rib::export::{self, Withheld};
use crate::rib::import;
use crate::rib::path::Path;
use crate::rib::table::BestPath;
use crate::status::{Lookup, RouteFilter, View};
use crate::why::{Explanation, Judgement, PathExplanation, PeerExplanation};
use ipnetwork::IpNetwork;

impl Speaker {
    /// Why the route is what it is. `None`: there is no such route.
    pub fn why(&self, lookup: Lookup) -> Option<Explanation> {
        let filter = RouteFilter {
            view: View::All,
            lookup: Some(lookup),
        };
        let prefix = self.routes(&filter).pop()?.prefix;
        let paths = self.table.route(&prefix)?.paths.iter();
        let paths = paths.map(|path| self.why_path(&prefix, path));
        let peers = self.peers.values();
        let mut peers: Vec<_> = peers.map(|peer| self.why_told(&prefix, peer)).collect();
        peers.sort_by_key(|peer| peer.peer);
        Some(Explanation {
            prefix,
            paths: paths.collect(),
            peers,
        })
    }

    fn why_path(&self, prefix: &IpNetwork, path: &Path) -> PathExplanation {
        PathExplanation {
            path: self.path_status(path),
            import: self.why_imported(prefix, path),
        }
    }

    fn why_imported(&self, prefix: &IpNetwork, path: &Path) -> Option<Judgement> {
        let Source::Peer(id) = path.source else {
            return None;
        };
        if matches!(path.imported, Err(reason) if reason != Reason::RejectedByPolicy) {
            return None;
        }
        let importer = importer(&self.config, self.peers.get(&id)?)?;
        let session = facing(importer.config, importer.remote_as, importer.external);
        let subject = import::subject(prefix, &path.received);
        let policy = &importer.config.import;
        Some(policy.trace(&session, subject, &importer.hand()))
    }

    fn why_told(&self, prefix: &IpNetwork, peer: &Peer) -> PeerExplanation {
        let silent = |reason: &str| PeerExplanation {
            peer: peer.config.address,
            told: None,
            reason: reason.to_owned(),
            export: None,
        };
        let group = self.member_of.get(&peer.id);
        let Some(group) = group.and_then(|group| self.groups.get(group)) else {
            return silent("there is no session with the peer");
        };
        let Some(best) = self.table.best(prefix) else {
            return silent("no path of it is used");
        };
        if best.source == Source::Peer(peer.id) {
            return silent("it is the peer's own route");
        }
        let source = self.originated.get(prefix).copied().unwrap_or_default();
        let outcome = group.key.export(prefix, &best, source);
        let reason = match &outcome {
            Ok(_) => "told".to_owned(),
            Err(withheld) => withheld.to_string(),
        };
        let asked = matches!(outcome, Ok(_) | Err(Withheld::Policy | Withheld::NoNextHop));
        PeerExplanation {
            peer: peer.config.address,
            told: outcome.ok().map(|attributes| described(&attributes)),
            reason,
            export: asked
                .then(|| self.why_exported(prefix, peer, &best))
                .flatten(),
        }
    }

    fn why_exported(
        &self,
        prefix: &IpNetwork,
        peer: &Peer,
        best: &BestPath<'_>,
    ) -> Option<Judgement> {
        let negotiated = peer.negotiated()?;
        let external = negotiated.context.external;
        let session = facing(&peer.config, negotiated.remote.asn, external);
        let key = &self.groups.get(self.member_of.get(&peer.id)?)?.key;
        let source = self.originated.get(prefix).copied().unwrap_or_default();
        let subject = export::subject(prefix, best, source);
        Some(peer.config.export.trace(&session, subject, &key.hand()))
    }
}
