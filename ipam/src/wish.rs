//! Which pools a pod's addresses come from, as far as the pod and its namespace say.

use crate::Family;
use margay_proto::names;
use std::collections::BTreeMap;

/// What a pod and its namespace say; the default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Name of the namespace.
    pub namespace: String,
    /// Its labels, for the pools' `namespaceSelector`.
    pub labels: BTreeMap<String, String>,
    named: BTreeMap<Family, Named>,
}

/// The pools that an annotation names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The object that has the annotation: `pod demo/web` or `namespace demo`.
    pub object: String,
    /// The annotation's name.
    pub annotation: &'static str,
    /// Its value as written.
    pub value: String,
    /// The names, in order of preference.
    pub pools: Vec<String>,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (object, annotation) = (&self.object, self.annotation);
        write!(f, "{object}: annotation {annotation} is `{}`", self.value)
    }
}

/// Annotations of an object.
pub type Annotations = BTreeMap<String, String>;

impl Wish {
    /// The wish of the pod `name` in a namespace; for each family the pod's annotation goes before the namespace's.
    pub fn of(
        (name, pod): (&str, &Annotations),
        (namespace, annotations): (&str, &Annotations),
        labels: BTreeMap<String, String>,
    ) -> Self {
        let named = |family: Family| {
            let annotation = annotation(family);
            let said = |object: String, found: &Annotations| {
                found.get(annotation).map(|value| Named {
                    object,
                    annotation,
                    value: value.clone(),
                    pools: names_in(value),
                })
            };
            said(format!("pod {namespace}/{name}"), pod)
                .or_else(|| said(format!("namespace {namespace}"), annotations))
                .map(|named| (family, named))
        };
        Self {
            namespace: namespace.to_owned(),
            labels,
            named: Family::ALL.into_iter().filter_map(named).collect(),
        }
    }

    /// The pools that an annotation names for `family`, if one does.
    pub fn named(&self, family: Family) -> Option<&Named> {
        self.named.get(&family)
    }
}

/// The annotation that names pools of `family`.
pub(crate) const fn annotation(family: Family) -> &'static str {
    match family {
        Family::V4 => names::IPV4_POOLS,
        Family::V6 => names::IPV6_POOLS,
    }
}

fn names_in(value: &str) -> Vec<String> {
    let names = value.split(',').map(str::trim).filter(|n| !n.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_pod_goes_before_its_namespace_for_each_family() {
        let pod = annotations(&[("margay.dev/ipv4-pools", " gold, silver ,")]);
        let both = [
            ("margay.dev/ipv4-pools", "tin"),
            ("margay.dev/ipv6-pools", "six"),
        ];
        let namespace = annotations(&both);
        let wish = Wish::of(("web", &pod), ("demo", &namespace), BTreeMap::new());
        let v4 = wish.named(Family::V4).unwrap();
        assert_eq!(v4.pools, ["gold", "silver"]);
        assert_eq!(
            v4.to_string(),
            "pod demo/web: annotation margay.dev/ipv4-pools is ` gold, silver ,`"
        );
        let v6 = wish.named(Family::V6).unwrap();
        assert_eq!(
            (v6.object.as_str(), &v6.pools[..]),
            ("namespace demo", &["six".to_owned()][..])
        );
        let silent = Wish::of(
            ("web", &annotations(&[])),
            ("demo", &annotations(&[])),
            BTreeMap::new(),
        );
        assert_eq!(silent.named(Family::V4), None);
    }
}
