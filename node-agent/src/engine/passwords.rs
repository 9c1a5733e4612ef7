//! The passwords of sessions, out of Secrets. A session whose password is not to be had is held down (invariant 11).

use super::{Engine, Inputs};
use margay_bgp::Password;
use margay_proto::{
    crd::{Authentication, Method},
    names,
};

/// Longest key of TCP MD5 that Linux takes (`TCP_MD5SIG_MAXKEYLEN`).
const LONGEST: usize = 80;

/// The password that `authentication` names; or why there is none, with the remedy.
pub(super) fn password(
    inputs: &Inputs,
    authentication: &Authentication,
) -> Result<Password, String> {
    if authentication.method == Method::AO {
        return Err(
            "spec.authentication.method is AO: TCP-AO (RFC 5925) is unsupported by this version; use MD5"
                .to_owned(),
        );
    }
    let reference = &authentication.password_secret_ref;
    let (name, key) = (&reference.name, &reference.key);
    let wrong = |what: String| {
        let namespace = names::NAMESPACE;
        Err(format!(
            "spec.authentication.passwordSecretRef: Secret {name} in namespace {namespace} {what}"
        ))
    };
    let Some(secret) = inputs.secrets.get(name) else {
        return wrong("is not there; create it".to_owned());
    };
    let Some(value) = secret.data.get(key) else {
        let keys: Vec<&str> = secret.data.keys().map(String::as_str).collect();
        let keys = if keys.is_empty() {
            "nothing".to_owned()
        } else {
            keys.join(", ")
        };
        return wrong(format!("has no key {key}, it has {keys}; add it"));
    };
    let length = value.0.len();
    if length == 0 || length > LONGEST {
        return wrong(format!(
            "has {length} octets at {key}; TCP MD5 takes 1 to {LONGEST}"
        ));
    }
    match std::str::from_utf8(&value.0) {
        // A line break at the end is an editor's or echo's, and no router would be given it.
        Ok(text) if !text.contains(char::is_control) => Ok(Password(text.to_owned())),
        _ => wrong(format!(
            "has a line break, another control character or no UTF-8 at {key}; write it without, as by `printf`"
        )),
    }
}

impl Engine {
    /// Why no session with a password can come up yet.
    pub(super) fn secrets_missing(&self) -> Option<String> {
        let peers = &self.inputs.peers;
        let asked = peers.values().any(|p| p.spec.authentication.is_some());
        (asked && !self.restored && !self.synced.contains("Secret")).then(|| {
            format!(
                "the Secrets of namespace {} have not been listed yet; sessions with a password are held down",
                names::NAMESPACE
            )
        })
    }
}
