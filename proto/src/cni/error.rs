//! CNI errors.

use super::Version;
use serde::{Deserialize, Serialize};

/// A number of the specification's error table (section 5, "Error"); 100 and above are a plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub u32);

impl Code {
    /// The `cniVersion`, or a verb that it does not have.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// A field that is not supported; the message holds key and value.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// No such container: the runtime has nothing to clean up.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// The environment; the message holds the variables' names.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO_FAILURE: Self = Self(5);
    /// Not JSON, or not of the expected form.
    pub const DECODING_FAILURE: Self = Self(6);
    /// A configuration that can be read but not carried out.
    pub const INVALID_CONFIG: Self = Self(7);
    /// It should pass by itself: the runtime asks again.
    pub const TRY_AGAIN_LATER: Self = Self(11);
    /// STATUS: ADD cannot be served.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// STATUS: ADD cannot be served and existing pods may be cut off.
    pub const LIMITED_CONNECTIVITY: Self = Self(51);
    /// Margay's own: the attachment is not as the result of its ADD said (CHECK).
    pub const ATTACHMENT_BROKEN: Self = Self(100);
    /// Our bug, or an agent that does not speak our protocol (libcni's number for it).
    pub const INTERNAL: Self = Self(999);
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a plugin writes to standard output before it exits with 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Error {
    /// The version in use; ours when the configuration's could not be read.
    #[serde(default)]
    pub cni_version: Version,
    /// What the runtime should do about it.
    pub code: Code,
    /// Short: what is wrong with which thing.
    pub msg: String,
    /// Longer: what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl Error {
    /// An error without details, in the newest version's form.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            cni_version: Version::default(),
            code,
            msg: message.into(),
            details: String::new(),
        }
    }

    /// The same with `details`.
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self {
            details: details.into(),
            ..self
        }
    }

    /// The same, answered to a configuration of this version.
    pub fn in_version(self, version: Version) -> Self {
        Self {
            cni_version: version,
            ..self
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.details)
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_print_as_the_specification_shows() {
        let error = Error::new(Code::INVALID_CONFIG, "invalid configuration")
            .with_details("network 192.168.0.0/31 too small to allocate from")
            .in_version(Version::V1_0_0);
        let json = concat!(
            r#"{"cniVersion":"1.0.0","code":7,"msg":"invalid configuration","#,
            r#""details":"network 192.168.0.0/31 too small to allocate from"}"#
        );
        assert_eq!(serde_json::to_string(&error).unwrap(), json);
        assert_eq!(serde_json::from_str::<Error>(json).unwrap(), error);
        assert_eq!(
            error.to_string(),
            "invalid configuration: network 192.168.0.0/31 too small to allocate from"
        );
    }

    #[test]
    fn empty_details_are_left_out() {
        let error = Error::new(Code::TRY_AGAIN_LATER, "pool is empty");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"cniVersion":"1.1.0","code":11,"msg":"pool is empty"}"#
        );
        assert_eq!(error.to_string(), "pool is empty");
    }
}
