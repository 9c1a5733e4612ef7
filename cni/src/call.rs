//! Environment and configuration as the one message for the agent.

use crate::environment::{Environment, Verb};
use margay_proto::cni::{Code, Error, NetworkConfig, Version};
use margay_proto::names::AGENT_SOCKET;
use margay_proto::rpc::cni::{Attachment, GcRequest, Request};

/// What is asked, where, and in which version the answer is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) version: Version,
    pub(crate) socket: String,
    pub(crate) message: Message,
}

/// A verb and its message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Add(Request),
    Del(Request),
    Check(Request),
    Status(Request),
    Gc(GcRequest),
}

impl Call {
    /// Reads a call.
    ///
    /// # Errors
    /// As [`NetworkConfig::parse`], and what a verb finds wrong: its version, a result before the first plugin, GC without a list.
    pub(crate) fn parse(environment: Environment, input: &[u8]) -> Result<Self, Error> {
        let config = NetworkConfig::parse(input)?;
        let version = config.cni_version;
        let socket = config
            .socket
            .clone()
            .unwrap_or_else(|| AGENT_SOCKET.to_owned());
        let message =
            message(environment, config, input).map_err(|error| error.in_version(version))?;
        Ok(Self {
            version,
            socket,
            message,
        })
    }
}

fn message(
    environment: Environment,
    config: NetworkConfig,
    input: &[u8],
) -> Result<Message, Error> {
    let verb = environment.verb;
    if config.cni_version < since(verb) {
        let message = format!(
            "cniVersion {} has no {}, which came with {}",
            config.cni_version,
            verb.as_str(),
            since(verb)
        );
        return Err(Error::new(Code::INCOMPATIBLE_VERSION, message));
    }
    let config_text = String::from_utf8_lossy(input).into_owned();
    let request = |environment: Environment, config: String| Request {
        container_id: environment.container_id,
        netns: environment.netns,
        ifname: environment.ifname,
        pod_namespace: environment.pod.namespace,
        pod_name: environment.pod.name,
        pod_uid: environment.pod.uid,
        config,
    };
    match verb {
        Verb::Add if config.has_prev_result() => Err(not_first(&config)),
        Verb::Add => Ok(Message::Add(request(environment, config_text))),
        Verb::Del => Ok(Message::Del(request(environment, config_text))),
        Verb::Check => {
            // Refused here in the same words as by the agent, which compares it with the kernel.
            config.prev_result()?;
            Ok(Message::Check(request(environment, config_text)))
        }
        Verb::Status => Ok(Message::Status(request(environment, config_text))),
        Verb::Gc => Ok(Message::Gc(GcRequest {
            valid: valid(config)?,
            config: config_text,
        })),
        Verb::Version => Err(Error::new(
            Code::INTERNAL,
            "VERSION is answered without the agent",
        )),
    }
}

const fn since(verb: Verb) -> Version {
    match verb {
        Verb::Add | Verb::Del | Verb::Version => Version::V0_3_1,
        Verb::Check => Version::V0_4_0,
        Verb::Status | Verb::Gc => Version::V1_1_0,
    }
}

fn not_first(config: &NetworkConfig) -> Error {
    let message = format!(
        "network {:?} lists a plugin before {:?}, which makes the pod's interface itself",
        config.name, config.plugin_type
    );
    Error::new(Code::INVALID_CONFIG, message)
        .with_details("prevResult must not be set for ADD: list this plugin first")
}

/// A list that is absent is not an empty one: releasing every address of the node by mistake is worse than releasing none.
fn valid(config: NetworkConfig) -> Result<Vec<Attachment>, Error> {
    let Some(valid) = config.valid_attachments else {
        return Err(Error::new(
            Code::INVALID_CONFIG,
            "cni.dev/valid-attachments must be set for GC",
        ));
    };
    let attachment = |a: margay_proto::cni::Attachment| Attachment {
        container_id: a.container_id,
        ifname: a.ifname,
    };
    Ok(valid.into_iter().map(attachment).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Pod;

    fn parse(verb: Verb, json: &str) -> Result<Call, Error> {
        let environment = Environment {
            verb,
            container_id: "abc".into(),
            netns: "/run/netns/a".into(),
            ifname: "eth0".into(),
            pod: Pod {
                namespace: "ns".into(),
                name: "web".into(),
                uid: "u".into(),
            },
        };
        Call::parse(environment, json.as_bytes())
    }

    #[test]
    fn the_configuration_passes_as_it_came() {
        let json = r#"{"cniVersion":"1.0.0","name":"margay","type":"margay","future":[1]}"#;
        let call = parse(Verb::Add, json).unwrap();
        assert_eq!(
            (call.version, call.socket.as_str()),
            (Version::V1_0_0, AGENT_SOCKET)
        );
        let expected = Request {
            container_id: "abc".into(),
            netns: "/run/netns/a".into(),
            ifname: "eth0".into(),
            pod_namespace: "ns".into(),
            pod_name: "web".into(),
            pod_uid: "u".into(),
            config: json.into(),
        };
        assert_eq!(call.message, Message::Add(expected));
    }

    #[test]
    fn verbs_need_the_version_that_brought_them() {
        let code = |verb, version| {
            let json = format!(
                r#"{{"cniVersion":"{version}","name":"m","cni.dev/valid-attachments":[]}}"#
            );
            parse(verb, &json)
                .err()
                .map(|error| (error.code, error.cni_version))
        };
        let refused = |version| Some((Code::INCOMPATIBLE_VERSION, version));
        assert_eq!(code(Verb::Check, "0.3.1"), refused(Version::V0_3_1));
        assert_eq!(code(Verb::Check, "0.4.0"), None);
        assert_eq!(code(Verb::Gc, "1.0.0"), refused(Version::V1_0_0));
        assert_eq!(code(Verb::Status, "1.0.0"), refused(Version::V1_0_0));
        assert_eq!(code(Verb::Gc, "1.1.0"), None);
        assert_eq!(code(Verb::Del, "0.3.1"), None);
    }

    #[test]
    fn only_add_minds_an_earlier_result() {
        let json = r#"{"cniVersion":"1.0.0","name":"m","type":"margay","prevResult":{"ips":7}}"#;
        let error = parse(Verb::Add, json).unwrap_err();
        assert_eq!(
            (error.code, error.cni_version),
            (Code::INVALID_CONFIG, Version::V1_0_0)
        );
        assert!(matches!(
            parse(Verb::Del, json).unwrap().message,
            Message::Del(_)
        ));
        assert_eq!(
            parse(Verb::Check, json).unwrap_err().code,
            Code::DECODING_FAILURE
        );
    }

    #[test]
    fn gc_without_a_list_releases_nothing() {
        let error = parse(Verb::Gc, r#"{"cniVersion":"1.1.0","name":"m"}"#).unwrap_err();
        assert_eq!(
            (error.code, error.msg.as_str()),
            (
                Code::INVALID_CONFIG,
                "cni.dev/valid-attachments must be set for GC"
            )
        );
    }
}
