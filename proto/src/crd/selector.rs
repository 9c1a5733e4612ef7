//! The schema of label selectors: what can select nothing is refused, as `NetworkPolicy` does it, and not accepted to select nothing.
//!
//! Names and values are those of labels (Kubernetes, "Labels and Selectors", syntax and character set).

use schemars::{Schema, SchemaGenerator, json_schema};

/// A label's key: a name, and before it a DNS subdomain if any.
const KEY: &str =
    "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// A label's value; it may be empty.
const VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";

/// For `#[schemars(schema_with)]` of an `Option<LabelSelector>`.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "Labels that must be there with these values.",
                "type": "object",
                "nullable": true,
                "maxProperties": 32,
                "additionalProperties": { "type": "string", "pattern": VALUE },
                "x-kubernetes-validations": [{
                    "rule": format!("self.all(key, size(key) <= 317 && key.matches('{KEY}'))"),
                    "message": "matchLabels must hold label keys, such as topology.kubernetes.io/rack"
                }]
            },
            "matchExpressions": {
                "description": "Requirements that must all hold.",
                "type": "array",
                "nullable": true,
                "maxItems": 32,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "description": "The label's key.", "type": "string", "maxLength": 317, "pattern": KEY },
                        "operator": { "description": "`In` and `NotIn` go with `values`, `Exists` and `DoesNotExist` without.", "type": "string", "maxLength": 12, "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
                        "values": {
                            "description": "What the label's value may be, or may not.",
                            "type": "array",
                            "nullable": true,
                            "maxItems": 64,
                            "items": { "type": "string", "maxLength": 63, "pattern": VALUE }
                        }
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                        "message": "values must be given with the operators In and NotIn and with no other (given: operator {self.operator})"
                    }]
                }
            }
        }
    })
}
