//! Whether what was applied is still there as it was applied. What others delete or change is applied again when the watch shows it, not at the
//! next resync.

use crate::desired::Kind;
use crate::watch::{RESYNC, mirror_of};
use anyhow::Result;
use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{reflector::Store, watcher};
use kube::{Api, Client};
use margay_proto::names;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The watches of what is applied, but for the DaemonSet, which has one of its own.
pub(crate) struct Owned(Vec<(Kind, Store<DynamicObject>)>);

impl Owned {
    /// Starts the watches. They narrow to the names that the operator may read; a user's pools it may see all.
    pub(crate) fn spawn(
        tasks: &mut JoinSet<Result<()>>,
        client: &Client,
        namespace: &str,
        dirty: &Arc<Notify>,
    ) -> Self {
        let watch = |kind: Kind| {
            let config = match kind {
                Kind::IPPool => watcher::Config::default(),
                Kind::BGPConfiguration => {
                    watcher::Config::default().fields("metadata.name=default")
                }
                _ => watcher::Config::default()
                    .fields(&format!("metadata.name={}", names::AGENT_APP)),
            };
            let (api, resource) = api(client, namespace, kind);
            (kind, mirror_of(tasks, api, resource, config, dirty))
        };
        let kinds = [
            Kind::IPPool,
            Kind::BGPConfiguration,
            Kind::ServiceAccount,
            Kind::ClusterRole,
            Kind::ClusterRoleBinding,
            Kind::Role,
            Kind::RoleBinding,
        ];
        Self(kinds.map(watch).into())
    }

    /// What the watch shows of an object. A watch that never came into sync, because the operator's rights are of an older version, shows
    /// nothing: such an object is only applied again at the resync.
    pub(crate) fn seen(&self, kind: Kind, name: &str) -> Seen {
        let synced = |store: &&Store<DynamicObject>| {
            matches!(store.wait_until_ready().now_or_never(), Some(Ok(())))
        };
        let store = self.0.iter().find(|(k, _)| *k == kind).map(|(_, s)| s);
        match store.filter(synced) {
            None => Seen::Unknown,
            Some(store) => store
                .find(|object| object.metadata.name.as_deref() == Some(name))
                .map_or(Seen::Absent, |object| Seen::of(&object.metadata)),
        }
    }
}

/// Where objects of `kind` are read and written.
pub(crate) fn api(
    client: &Client,
    namespace: &str,
    kind: Kind,
) -> (Api<DynamicObject>, ApiResource) {
    let (group, version, word, plural) = kind.resource();
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, word), plural);
    let api = if kind.is_namespaced() {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    (api, resource)
}

/// An object as somebody saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nobody looked.
    Unknown,
    Absent,
    /// Equal while the object lives and its content is the same.
    Object {
        uid: String,
        /// The generation, which a status does not change; the resource version of kinds without one, which have no status.
        version: String,
    },
}

impl Seen {
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let generation = metadata.generation.map(|g| g.to_string());
        Self::Object {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: generation
                .or_else(|| metadata.resource_version.clone())
                .unwrap_or_default(),
        }
    }
}

/// What came of the last apply, object by object.
#[derive(Debug, Default)]
pub(crate) struct Marks(Vec<Mark>);

#[derive(Debug)]
struct Mark {
    kind: Kind,
    name: String,
    left: Seen,
    /// The watch has shown it so; whatever else it shows now came later.
    settled: bool,
}

impl Marks {
    /// The API server answered with `answer`.
    pub(crate) fn applied(&mut self, kind: Kind, name: &str, answer: &ObjectMeta) {
        self.0.push(Mark {
            kind,
            name: name.to_owned(),
            left: Seen::of(answer),
            settled: false,
        });
    }

    /// The API server refused, while the watch showed `seen`: a change of that is a reason to try again.
    pub(crate) fn refused(&mut self, kind: Kind, name: &str, seen: Seen) {
        self.0.push(Mark {
            kind,
            name: name.to_owned(),
            left: seen,
            settled: true,
        });
    }

    /// `kind name` of what is not as it was left `age` ago.
    pub(crate) fn drifted(
        &mut self,
        age: Duration,
        seen: impl Fn(Kind, &str) -> Seen,
    ) -> Vec<String> {
        let mut drifted = Vec::new();
        for mark in &mut self.0 {
            let seen = seen(mark.kind, &mark.name);
            if seen == Seen::Unknown || mark.left == Seen::Unknown || seen == mark.left {
                mark.settled = true;
            } else if mark.settled || age >= SETTLE {
                drifted.push(format!("{} {}", mark.kind.resource().2, mark.name));
            }
        }
        drifted
    }

    /// Whether the watches have shown all of it.
    pub(crate) fn are_settled(&self) -> bool {
        self.0.iter().all(|mark| mark.settled)
    }
}

/// How long a watch may take to show what was applied.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// How long after the last apply the next repair comes, after `repairs` in a row: none, then 0.5 s doubling to the resync. Somebody who undoes
/// every repair must not become a storm of writes.
pub(crate) fn repair_gap(repairs: u32) -> Duration {
    match repairs {
        0 => Duration::ZERO,
        n => Duration::from_millis(500 << (n - 1).min(7)).min(RESYNC),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Duration = Duration::ZERO;

    fn metadata(uid: &str, generation: Option<i64>, version: &str) -> ObjectMeta {
        serde_json::from_value(
            json!({ "name": "pods", "uid": uid, "generation": generation, "resourceVersion": version }),
        )
        .unwrap()
    }

    fn pool(uid: &str, generation: i64, version: &str) -> Seen {
        Seen::of(&metadata(uid, Some(generation), version))
    }

    fn applied() -> Marks {
        let mut marks = Marks::default();
        marks.applied(Kind::IPPool, "pods", &metadata("u1", Some(1), "10"));
        marks
    }

    #[test]
    fn what_others_delete_replace_or_change_has_drifted_at_once() {
        for (seen, drifts) in [
            (pool("u1", 1, "10"), false),
            (pool("u1", 1, "11"), false), // status
            (Seen::Unknown, false),
            (pool("u1", 2, "12"), true),
            (pool("u2", 1, "13"), true),
            (Seen::Absent, true),
        ] {
            let mut marks = applied();
            assert!(marks.drifted(NOW, |_, _| pool("u1", 1, "10")).is_empty());
            assert!(marks.are_settled());
            let drifted = marks.drifted(NOW, |_, _| seen.clone());
            assert_eq!(
                drifted,
                vec!["IPPool pods"; usize::from(drifts)],
                "{seen:?}"
            );
        }
    }

    #[test]
    fn a_watch_that_lags_behind_the_apply_is_no_drift() {
        let mut marks = applied();
        assert!(marks.drifted(SETTLE / 2, |_, _| Seen::Absent).is_empty());
        assert!(!marks.are_settled());
        assert_eq!(marks.drifted(SETTLE, |_, _| Seen::Absent).len(), 1);
    }

    #[test]
    fn a_kind_without_generation_is_told_by_its_resource_version() {
        let mut marks = Marks::default();
        marks.applied(Kind::Role, "margay-agent", &metadata("u1", None, "10"));
        let seen = |version| move |_: Kind, _: &str| Seen::of(&metadata("u1", None, version));
        assert!(marks.drifted(NOW, seen("10")).is_empty());
        assert_eq!(marks.drifted(NOW, seen("11")), ["Role margay-agent"]);
    }

    #[test]
    fn a_refused_object_is_tried_again_when_it_changes() {
        let mut marks = Marks::default();
        marks.refused(Kind::IPPool, "pods", pool("u1", 1, "10"));
        assert!(marks.are_settled());
        assert!(marks.drifted(SETTLE, |_, _| pool("u1", 1, "11")).is_empty());
        assert_eq!(marks.drifted(NOW, |_, _| Seen::Absent), ["IPPool pods"]);
    }

    #[test]
    fn a_fight_over_an_object_slows_down() {
        assert_eq!(
            [0, 1, 2, 3, 7, 8, 99].map(|n| repair_gap(n).as_millis()),
            [0, 500, 1000, 2000, 32_000, 60_000, 60_000]
        );
    }
}
