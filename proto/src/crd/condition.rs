//! Conditions, as every Kubernetes object reports them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of an object's state (`metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What aspect: `Active`, `Overlap`, `Available`, ...
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people: the object, the field and the remedy.
    pub message: String,
    /// Generation of the object that this speaks of.
    #[serde(default)]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    pub last_transition_time: Time,
}

impl Condition {
    /// Puts `new` into `conditions`, keeping the transition time of one whose status did not change.
    pub fn set(conditions: &mut Vec<Self>, mut new: Self) {
        match conditions.iter_mut().find(|c| c.type_ == new.type_) {
            Some(old) => {
                if old.status == new.status {
                    new.last_transition_time = old.last_transition_time.clone();
                }
                *old = new;
            }
            None => conditions.push(new),
        }
    }

    /// Whether `conditions` hold `type_` with status `True`.
    pub fn is_true(conditions: &[Self], type_: &str) -> bool {
        conditions
            .iter()
            .any(|c| c.type_ == type_ && c.status == "True")
    }
}
