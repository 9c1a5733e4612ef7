//! What a runtime writes to standard input.

use super::{AddResult, Code, Error, Version};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The configuration of one call (specification section 3, "Deriving request configuration").
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// Version that the answer must have.
    pub cni_version: Version,
    /// Name of the network: a letter or digit, then letters, digits, `_`, `.`, `-`.
    pub name: String,
    /// The plugin binary's name.
    pub plugin_type: String,
    /// Capability arguments, such as port mappings; ours are none.
    pub runtime_config: Map<String, Value>,
    /// Attachments that the runtime still knows (GC). None when the key is absent, which is not the same as none left.
    pub valid_attachments: Option<Vec<Attachment>>,
    /// The agent's socket, when it is not the usual one.
    pub socket: Option<String>,
    prev_result: Option<Value>,
}

/// One interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID` of its ADD.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME` of its ADD.
    pub ifname: String,
}

impl NetworkConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Code::DECODING_FAILURE`] when it is not JSON of this form, [`Code::INCOMPATIBLE_VERSION`] for a version that is not ours,
    /// [`Code::INVALID_CONFIG`] for a network without a proper name. The error has the configuration's version once that is known.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        // By way of a map, because a derived struct would also take a JSON array.
        let object: Map<String, Value> = serde_json::from_slice(json).map_err(undecodable)?;
        let raw: Raw = serde_json::from_value(Value::Object(object)).map_err(undecodable)?;
        let cni_version = Version::parse(&raw.cni_version)?;
        if !is_name(&raw.name) {
            let message = format!(
                "network name {:?} is not a letter or digit followed by letters, digits, '_', '.' or '-'",
                raw.name
            );
            return Err(Error::new(Code::INVALID_CONFIG, message).in_version(cni_version));
        }
        Ok(Self {
            cni_version,
            name: raw.name,
            plugin_type: raw.plugin_type,
            runtime_config: raw.runtime_config.unwrap_or_default(),
            valid_attachments: raw.valid_attachments.or(raw.attachments),
            socket: raw.socket.filter(|path| !path.is_empty()),
            prev_result: raw.prev_result,
        })
    }

    /// Whether a plugin before us in the chain, or an earlier ADD, left a result.
    pub const fn has_prev_result(&self) -> bool {
        self.prev_result.is_some()
    }

    /// That result. Read only when asked for, because DEL has to work whatever it holds.
    ///
    /// # Errors
    /// [`Code::DECODING_FAILURE`] when it is not a result of one of our versions.
    pub fn prev_result(&self) -> Result<Option<AddResult>, Error> {
        let read = |value: &Value| {
            AddResult::deserialize(value).map_err(|e| {
                Error::new(Code::DECODING_FAILURE, "prevResult cannot be decoded")
                    .with_details(e.to_string())
                    .in_version(self.cni_version)
            })
        };
        self.prev_result.as_ref().map(read).transpose()
    }
}

/// Whether `text` may name a network or a container (specification section 2, "Parameters").
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn undecodable(error: serde_json::Error) -> Error {
    Error::new(
        Code::DECODING_FAILURE,
        "network configuration cannot be decoded",
    )
    .with_details(error.to_string())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    cni_version: String,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    plugin_type: String,
    #[serde(default)]
    runtime_config: Option<Map<String, Value>>,
    #[serde(default)]
    prev_result: Option<Value>,
    #[serde(default)]
    socket: Option<String>,
    #[serde(
        default,
        rename = "cni.dev/valid-attachments",
        deserialize_with = "null_is_empty"
    )]
    valid_attachments: Option<Vec<Attachment>>,
    /// The name of an early draft; libcni writes both.
    #[serde(
        default,
        rename = "cni.dev/attachments",
        deserialize_with = "null_is_empty"
    )]
    attachments: Option<Vec<Attachment>>,
}

/// Go runtimes write an empty list as `null`: present, so nothing is left.
fn null_is_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Attachment>>, D::Error> {
    Option::deserialize(deserializer).map(|list| Some(list.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> Code {
        NetworkConfig::parse(json.as_bytes()).unwrap_err().code
    }

    #[test]
    fn a_runtime_s_configuration_is_read() {
        let config = NetworkConfig::parse(
            br#"{"cniVersion":"1.0.0","name":"margay","type":"margay","capabilities":{"x":true},
                "runtimeConfig":{"portMappings":[{"hostPort":8080}]},"ipam":{},"dns":{}}"#,
        )
        .unwrap();
        assert_eq!(config.cni_version, Version::V1_0_0);
        assert_eq!(
            (config.name.as_str(), config.plugin_type.as_str()),
            ("margay", "margay")
        );
        assert!(config.runtime_config.contains_key("portMappings"));
        assert_eq!(config.valid_attachments, None);
        assert_eq!(config.socket, None);
        assert!(!config.has_prev_result());
        assert_eq!(config.prev_result(), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_says_which_kind() {
        for json in [
            "",
            "{",
            "[]",
            "1",
            "null",
            r#"{"cniVersion":1}"#,
            r#"{"cniVersion":"1.0.0","name":[]}"#,
            "\u{0}",
        ] {
            assert_eq!(code(json), Code::DECODING_FAILURE, "{json:?}");
        }
        for json in [
            "{}",
            r#"{"cniVersion":"0.2.0","name":"x"}"#,
            r#"{"cniVersion":"9.9.9"}"#,
        ] {
            assert_eq!(code(json), Code::INCOMPATIBLE_VERSION, "{json}");
        }
        for name in ["", "-x", "a b", "a/b", "ä"] {
            assert_eq!(
                code(&format!(r#"{{"cniVersion":"1.0.0","name":"{name}"}}"#)),
                Code::INVALID_CONFIG,
                "{name}"
            );
        }
    }

    #[test]
    fn no_list_of_attachments_differs_from_an_empty_one() {
        let list = |rest: &str| {
            let json = format!(r#"{{"cniVersion":"1.1.0","name":"margay"{rest}}}"#);
            NetworkConfig::parse(json.as_bytes())
                .unwrap()
                .valid_attachments
        };
        let one = vec![Attachment {
            container_id: "abc".into(),
            ifname: "eth0".into(),
        }];
        assert_eq!(list(""), None);
        assert_eq!(list(r#","cni.dev/valid-attachments":null"#), Some(vec![]));
        assert_eq!(list(r#","cni.dev/valid-attachments":[]"#), Some(vec![]));
        assert_eq!(
            list(r#","cni.dev/attachments":[{"containerID":"abc","ifname":"eth0"}]"#),
            Some(one.clone())
        );
        assert_eq!(
            list(
                r#","cni.dev/valid-attachments":[{"containerID":"abc","ifname":"eth0"}],"cni.dev/attachments":null"#
            ),
            Some(one)
        );
    }

    #[test]
    fn previous_results_are_read_late() {
        let parse = |prev: &str| {
            NetworkConfig::parse(
                format!(r#"{{"cniVersion":"0.4.0","name":"m","prevResult":{prev}}}"#).as_bytes(),
            )
            .unwrap()
        };
        let config =
            parse(r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.1/32"}]}"#);
        assert_eq!(
            config.prev_result().unwrap().unwrap().ips[0]
                .address
                .to_string(),
            "10.0.0.1/32"
        );
        let config = parse(r#"{"ips":7}"#);
        assert!(config.has_prev_result());
        let error = config.prev_result().unwrap_err();
        assert_eq!(
            (error.code, error.cni_version),
            (Code::DECODING_FAILURE, Version::V0_4_0)
        );
        assert!(!parse("null").has_prev_result());
    }
}
