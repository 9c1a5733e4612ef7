//! CHECK's `prevResult` against what the record says.

use super::refusal::Refusal;
use margay_ipam::Attachment;
use margay_proto::cni::NetworkConfig;
use std::{collections::BTreeSet, net::IpAddr};

/// Whether the result that the runtime kept from ADD is what this attachment was given (specification section 4, CHECK: it is required).
///
/// # Errors
/// When it is missing or unreadable, or names other addresses for the interface.
pub(super) fn agrees(config: &str, attachment: &Attachment) -> Result<(), Refusal> {
    let invalid = |e: margay_proto::cni::Error| Refusal::InvalidConfig(e.to_string());
    let result = NetworkConfig::parse(config.as_bytes())
        .and_then(|c| c.prev_result())
        .map_err(invalid)?
        .ok_or_else(|| {
            Refusal::InvalidConfig(
                "prevResult is missing: CHECK takes the result of ADD".to_owned(),
            )
        })?;
    let told: BTreeSet<IpAddr> = result.ips.iter().map(|ip| ip.address.address()).collect();
    let held: BTreeSet<IpAddr> = attachment.addresses.iter().copied().collect();
    if told == held {
        return Ok(());
    }
    Err(Refusal::Mismatch(format!(
        "prevResult names the addresses {told:?}, but {}/{} holds {held:?}",
        attachment.namespace, attachment.pod
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use margay_ipam::{AttachmentKey, Netns};

    fn attachment() -> Attachment {
        Attachment {
            key: AttachmentKey::new("c1", "eth0"),
            namespace: "default".into(),
            pod: "a".into(),
            uid: "u".into(),
            netns: Netns::default(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        }
    }

    fn config(ips: &str) -> String {
        format!(
            r#"{{"cniVersion":"1.0.0","name":"margay","type":"margay","prevResult":{{"cniVersion":"1.0.0","ips":[{ips}]}}}}"#
        )
    }

    #[test]
    fn the_result_of_add_agrees_and_another_does_not() {
        let same = config(r#"{"address":"10.0.0.1/32"},{"address":"fd00::1/128"}"#);
        assert!(agrees(&same, &attachment()).is_ok());
        let other = config(r#"{"address":"10.9.9.9/32"}"#);
        assert!(
            matches!(agrees(&other, &attachment()), Err(Refusal::Mismatch(text)) if text.contains("10.9.9.9"))
        );
    }

    #[test]
    fn without_a_result_check_is_refused() {
        let none = r#"{"cniVersion":"1.0.0","name":"margay","type":"margay"}"#;
        assert!(
            matches!(agrees(none, &attachment()), Err(Refusal::InvalidConfig(text)) if text.contains("prevResult"))
        );
    }
}
