//! Label selectors over nodes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use std::collections::BTreeMap;

/// Why a selector of `object` selects nothing: it cannot be understood.
pub(super) fn fault(object: &str, field: &str, selector: Option<&LabelSelector>) -> Option<String> {
    let error = Selector::try_from(selector?.clone()).err()?;
    Some(format!(
        "{object}: {field} selects nothing: {error}; the operators are In, NotIn, Exists and DoesNotExist"
    ))
}

/// Whether `selector` selects an object with `labels`. No selector selects all; an unknown operator selects nothing.
pub(super) fn selects(
    selector: Option<&LabelSelector>,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    let label = |key: &str| labels.and_then(|l| l.get(key));
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| label(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|e| {
            let listed =
                || label(&e.key).is_some_and(|v| e.values.iter().flatten().any(|w| w == v));
            match e.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => label(&e.key).is_some(),
                "DoesNotExist" => label(&e.key).is_none(),
                _ => false,
            }
        })
}
