//! Versions of the CNI specification.

use super::{Code, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A version of the specification that Margay speaks, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.1: ADD, DEL, VERSION.
    V0_3_1,
    /// 0.4.0: CHECK.
    V0_4_0,
    /// 1.0.0: addresses lose their `version`.
    V1_0_0,
    /// 1.1.0: STATUS, GC; MTU in results.
    #[default]
    V1_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// As it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Reads a `cniVersion`. The empty string, which the specification reads as 0.1.0, is not one of ours.
    ///
    /// # Errors
    /// [`Code::INCOMPATIBLE_VERSION`] for every other version; `details` lists ours.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| {
                let supported = Self::ALL.map(Self::as_str).join(", ");
                Error::new(
                    Code::INCOMPATIBLE_VERSION,
                    format!("cniVersion {text:?} is not supported"),
                )
                .with_details(format!("supported versions: {supported}"))
            })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The answer to VERSION.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionReply {
    /// What the runtime asked with, returned as it came.
    pub cni_version: String,
    /// Every version that we speak.
    pub supported_versions: Vec<Version>,
}

impl VersionReply {
    /// Answers whatever a runtime wrote to standard input, also nothing: a probe must not fail over its own form.
    pub fn to(input: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Probe {
            #[serde(rename = "cniVersion")]
            cni_version: String,
        }
        let asked = serde_json::from_slice::<Probe>(input).map(|probe| probe.cni_version);
        Self {
            cni_version: asked.unwrap_or_else(|_| Version::default().to_string()),
            supported_versions: Version::ALL.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_they_are_written_and_in_order() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Ok(version));
        }
        assert!(Version::ALL.is_sorted());
    }

    #[test]
    fn other_versions_are_incompatible() {
        for text in [
            "", "0.1.0", "0.2.0", "0.3.0", "1.2.0", "2.0.0", "1.1.0 ", "x",
        ] {
            let error = Version::parse(text).unwrap_err();
            assert_eq!(error.code, Code::INCOMPATIBLE_VERSION, "{text}");
            assert_eq!(
                error.details,
                "supported versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0"
            );
        }
    }

    #[test]
    fn a_probe_is_answered_with_its_own_version() {
        let json =
            |input: &str| serde_json::to_string(&VersionReply::to(input.as_bytes())).unwrap();
        assert_eq!(
            json(r#"{"cniVersion":"1.0.0"}"#),
            r#"{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}"#
        );
        assert_eq!(
            json(""),
            r#"{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}"#
        );
        assert_eq!(json("{"), json(""));
    }
}
