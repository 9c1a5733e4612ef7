//! A warning as the API server's Event.

use super::Warning;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use margay_policy::table::Digest;
use margay_proto::names;

/// Limits of the API server's own checks.
const NOTE: usize = 1024;
const INSTANCE: usize = 128;
const NAME: usize = 253;

/// The event; equal on all nodes but for the time and who says it.
pub(super) fn of(warning: &Warning, node: &str, now: Timestamp) -> Event {
    let about = &warning.about;
    let namespace = Some(about.namespace.clone()).filter(|name| !name.is_empty());
    Event {
        metadata: ObjectMeta {
            name: Some(name(warning)),
            namespace: Some(namespace.clone().unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        regarding: Some(ObjectReference {
            api_version: Some(about.api_version.to_owned()),
            kind: Some(about.kind.to_owned()),
            name: Some(about.name.clone()),
            namespace,
            uid: Some(about.uid.clone()),
            ..ObjectReference::default()
        }),
        type_: Some("Warning".to_owned()),
        reason: Some(warning.reason.to_owned()),
        // Required; there is nothing that the reason does not say.
        action: Some(warning.reason.to_owned()),
        note: Some(cut(&warning.message, NOTE)),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(names::AGENT_MANAGER.to_owned()),
        reporting_instance: Some(cut(node, INSTANCE)),
        ..Event::default()
    }
}

/// The same on every node, another for another object, generation or text.
fn name(warning: &Warning) -> String {
    let Warning {
        about,
        reason,
        message,
    } = warning;
    let text = format!("{}\n{}\n{reason}\n{message}", about.uid, about.generation);
    let mut hash = Digest::of_text(&text).to_string();
    hash.truncate(16);
    // Names of objects are ASCII, and no part of a name may end in a dash or be empty.
    let mut stem = about.name.clone();
    stem.truncate(NAME - 1 - hash.len());
    format!("{}.{hash}", stem.trim_end_matches(['.', '-']))
}

fn cut(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit - MARK.len());
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::About;
    use super::*;

    fn warning(message: &str) -> Warning {
        Warning {
            about: About::pod("shop", "web", "uid-1"),
            reason: "Tested",
            message: message.to_owned(),
        }
    }

    fn at(node: &str, warning: &Warning) -> Event {
        of(warning, node, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn nodes_that_say_the_same_make_one_object() {
        let (one, two) = (at("a", &warning("no")), at("b", &warning("no")));
        assert_eq!(one.metadata, two.metadata);
        assert_ne!(one.reporting_instance, two.reporting_instance);
    }

    #[test]
    fn another_text_object_or_generation_is_another_event() {
        let same = warning("no");
        let mut successor = warning("no");
        successor.about.uid = "uid-2".to_owned();
        let mut changed = warning("no");
        changed.about.generation = 2;
        for other in [warning("yes"), successor, changed] {
            assert_ne!(name(&same), name(&other), "{other:?}");
        }
    }

    #[test]
    fn it_is_on_its_object() {
        let event = at("a", &warning("no"));
        let regarding = event.regarding.unwrap();
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(regarding.namespace.as_deref(), Some("shop"));
        assert_eq!(regarding.name.as_deref(), Some("web"));
        let mut wide = warning("no");
        wide.about.namespace.clear();
        let event = at("a", &wide);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.regarding.unwrap().namespace, None);
    }

    #[test]
    fn the_limits_of_the_api_server_are_kept() {
        let long = at(&"n".repeat(200), &warning(&"ä".repeat(1000)));
        assert_eq!(long.note.as_ref().map(String::len), Some(1023));
        assert!(long.note.unwrap().ends_with("ä…"));
        assert_eq!(long.reporting_instance.unwrap().len(), 128);
        let mut named = warning("no");
        named.about.name = format!("{}.{}", "a".repeat(235), "b".repeat(17));
        let name = name(&named);
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    }
}
