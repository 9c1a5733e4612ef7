//! The environment of a call (specification section 2, "Parameters").

use margay_proto::cni::{Code, Error, is_name};
use std::ffi::OsString;

/// What the runtime set; parts that the verb does not need may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) verb: Verb,
    pub(crate) container_id: String,
    pub(crate) netns: String,
    pub(crate) ifname: String,
    pub(crate) pod: Pod,
}

/// `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

/// Whose the container is, from `CNI_ARGS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Environment {
    /// Reads the variables by `lookup`.
    ///
    /// # Errors
    /// [`Code::INVALID_ENVIRONMENT`], naming every variable that is missing or the one that is wrong.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let verb = Verb::parse(&text(&lookup, "CNI_COMMAND")?)?;
        let mut environment = Self {
            verb,
            container_id: text(&lookup, "CNI_CONTAINERID")?,
            netns: text(&lookup, "CNI_NETNS")?,
            ifname: text(&lookup, "CNI_IFNAME")?,
            pod: Pod::default(),
        };
        if matches!(verb, Verb::Add | Verb::Del | Verb::Check) {
            environment.check()?;
            environment.pod = environment.pod(&text(&lookup, "CNI_ARGS")?)?;
        }
        Ok(environment)
    }

    fn check(&self) -> Result<(), Error> {
        // A DEL without a namespace is for a container whose namespace is gone.
        let netns_needed = self.verb != Verb::Del;
        let needed = [
            ("CNI_CONTAINERID", &self.container_id, true),
            ("CNI_NETNS", &self.netns, netns_needed),
            ("CNI_IFNAME", &self.ifname, true),
        ];
        let missing: Vec<&str> = needed
            .iter()
            .filter(|(_, value, needed)| *needed && value.is_empty())
            .map(|(name, ..)| *name)
            .collect();
        if !missing.is_empty() {
            return Err(invalid(format!(
                "{} must be set for {}",
                missing.join(", "),
                self.verb.as_str()
            )));
        }
        if !is_name(&self.container_id) {
            let rule = "a letter or digit followed by letters, digits, '_', '.' or '-'";
            return Err(invalid(format!(
                "CNI_CONTAINERID {:?} is not {rule}",
                self.container_id
            )));
        }
        if !is_ifname(&self.ifname) {
            let rule = "1 to 15 bytes without '/', ':' or blanks";
            return Err(invalid(format!(
                "CNI_IFNAME {:?} is not an interface name of {rule}",
                self.ifname
            )));
        }
        if !self.netns.is_empty() && !self.netns.starts_with('/') {
            return Err(invalid(format!(
                "CNI_NETNS {:?} is not an absolute path",
                self.netns
            )));
        }
        Ok(())
    }

    /// An ADD is for a known pod, since policy depends on whose the address is. The other verbs go by container id, and a DEL never fails
    /// over what it does not need.
    fn pod(&self, args: &str) -> Result<Pod, Error> {
        let pod = Pod::parse(args);
        if self.verb != Verb::Add {
            return Ok(pod.unwrap_or_default());
        }
        let pod = pod?;
        for (key, value) in [
            ("K8S_POD_NAMESPACE", &pod.namespace),
            ("K8S_POD_NAME", &pod.name),
        ] {
            if value.is_empty() {
                return Err(invalid(format!("CNI_ARGS must hold {key} for ADD")));
            }
        }
        Ok(pod)
    }
}

impl Verb {
    fn parse(command: &str) -> Result<Self, Error> {
        let verbs = [
            Self::Add,
            Self::Del,
            Self::Check,
            Self::Status,
            Self::Gc,
            Self::Version,
        ];
        verbs
            .into_iter()
            .find(|verb| verb.as_str() == command)
            .ok_or_else(|| {
                let names = verbs.map(Self::as_str).join(", ");
                match command {
                    "" => invalid(format!("CNI_COMMAND must be set to one of {names}")),
                    other => invalid(format!("CNI_COMMAND {other:?} is not one of {names}")),
                }
            })
    }

    /// As `CNI_COMMAND` spells it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }
}

impl Pod {
    /// Reads `KEY=VALUE;KEY=VALUE`. Keys that are not ours are refused unless `IgnoreUnknown` is set, as every runtime does.
    fn parse(args: &str) -> Result<Self, Error> {
        let mut pod = Self::default();
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in args.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(invalid(format!("CNI_ARGS: {pair:?} is not KEY=VALUE")));
            };
            match key {
                "K8S_POD_NAMESPACE" => pod.namespace = value.to_owned(),
                "K8S_POD_NAME" => pod.name = value.to_owned(),
                "K8S_POD_UID" => pod.uid = value.to_owned(),
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                "IgnoreUnknown" => ignore_unknown = matches!(value, "1" | "true" | "True" | "TRUE"),
                other => unknown.push(other),
            }
        }
        if unknown.is_empty() || ignore_unknown {
            return Ok(pod);
        }
        Err(invalid(format!(
            "CNI_ARGS: unknown {}, and IgnoreUnknown is not set",
            unknown.join(", ")
        )))
    }
}

fn text(lookup: &impl Fn(&str) -> Option<OsString>, name: &str) -> Result<String, Error> {
    let value = lookup(name).unwrap_or_default();
    value
        .into_string()
        .map_err(|raw| invalid(format!("{name} {raw:?} is not UTF-8")))
}

/// Whether the kernel takes `text` as the name of a link (`dev_valid_name`).
fn is_ifname(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
}

fn invalid(message: String) -> Error {
    Error::new(Code::INVALID_ENVIRONMENT, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    const ADD: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "0123abcd"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", "eth0"),
        (
            "CNI_ARGS",
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0;K8S_POD_UID=u-1;X=y",
        ),
    ];

    /// ADD with `changes`; an empty value unsets.
    fn read(changes: &[(&str, &str)]) -> Result<Environment, Error> {
        Environment::read(|name| {
            let found = changes.iter().chain(&ADD).find(|(key, _)| *key == name);
            found
                .map(|(_, value)| value)
                .filter(|value| !value.is_empty())
                .map(OsString::from)
        })
    }

    #[track_caller]
    fn refused(changes: &[(&str, &str)], message: &str) {
        let error = read(changes).unwrap_err();
        assert_eq!(
            (error.code, error.msg.as_str()),
            (Code::INVALID_ENVIRONMENT, message)
        );
    }

    #[test]
    fn add_knows_container_and_pod() {
        let pod = Pod {
            namespace: "ns".into(),
            name: "web-0".into(),
            uid: "u-1".into(),
        };
        let environment = read(&[]).unwrap();
        assert_eq!(environment.pod, pod);
        assert_eq!(
            (
                environment.container_id.as_str(),
                environment.ifname.as_str()
            ),
            ("0123abcd", "eth0")
        );
        assert_eq!(
            read(&[("CNI_ARGS", "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p")])
                .unwrap()
                .pod
                .uid,
            ""
        );
    }

    #[test]
    fn every_missing_variable_is_named() {
        refused(
            &[("CNI_COMMAND", "")],
            "CNI_COMMAND must be set to one of ADD, DEL, CHECK, STATUS, GC, VERSION",
        );
        refused(
            &[("CNI_COMMAND", "add")],
            "CNI_COMMAND \"add\" is not one of ADD, DEL, CHECK, STATUS, GC, VERSION",
        );
        refused(
            &[("CNI_NETNS", ""), ("CNI_CONTAINERID", "")],
            "CNI_CONTAINERID, CNI_NETNS must be set for ADD",
        );
        refused(
            &[("CNI_COMMAND", "CHECK"), ("CNI_NETNS", "")],
            "CNI_NETNS must be set for CHECK",
        );
        refused(
            &[("CNI_COMMAND", "DEL"), ("CNI_IFNAME", "")],
            "CNI_IFNAME must be set for DEL",
        );
        refused(
            &[("CNI_ARGS", "")],
            "CNI_ARGS must hold K8S_POD_NAMESPACE for ADD",
        );
        refused(
            &[("CNI_ARGS", "K8S_POD_NAMESPACE=ns")],
            "CNI_ARGS must hold K8S_POD_NAME for ADD",
        );
    }

    #[test]
    fn every_wrong_variable_is_named() {
        for (name, value) in [
            ("CNI_CONTAINERID", "../x"),
            ("CNI_CONTAINERID", "-x"),
            ("CNI_IFNAME", "abcdefghijklmnop"),
            ("CNI_IFNAME", ".."),
            ("CNI_IFNAME", "a/b"),
            ("CNI_IFNAME", "a b"),
            ("CNI_NETNS", "netns/a"),
            ("CNI_ARGS", "K8S_POD_NAME"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;Y=1"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!(error.code, Code::INVALID_ENVIRONMENT, "{name}={value}");
            assert!(error.msg.starts_with(name), "{}", error.msg);
        }
        let raw = Environment::read(|name| {
            (name == "CNI_COMMAND").then(|| OsString::from_vec(vec![0xff]))
        });
        assert_eq!(raw.unwrap_err().msg, "CNI_COMMAND \"\\xFF\" is not UTF-8");
    }

    #[test]
    fn del_needs_neither_namespace_nor_pod() {
        let environment = read(&[
            ("CNI_COMMAND", "DEL"),
            ("CNI_NETNS", ""),
            ("CNI_ARGS", "broken"),
        ])
        .unwrap();
        assert_eq!(
            (environment.netns.as_str(), environment.pod),
            ("", Pod::default())
        );
    }

    #[test]
    fn verbs_about_no_container_need_only_themselves() {
        for verb in ["STATUS", "GC", "VERSION"] {
            let unset = [
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", ""),
                ("CNI_NETNS", ""),
                ("CNI_IFNAME", ""),
                ("CNI_ARGS", ""),
            ];
            assert_eq!(read(&unset).unwrap().verb.as_str(), verb);
        }
    }
}
