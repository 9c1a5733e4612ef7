//! Which events are about damage of pod links.

use crate::kernel::events::Event;
use margay_proto::names;
use std::collections::BTreeMap;

/// The pod link that an event may mean damage of: down, gone, or renamed, which only its index tells.
pub(super) fn hurt(pods: &mut BTreeMap<u32, String>, event: &Event) -> Option<String> {
    match event {
        Event::LinkGone(link) => pods
            .remove(&link.ifindex)
            .or_else(|| is_pods(&link.name).then(|| link.name.clone())),
        Event::Link(link) => {
            let before = if is_pods(&link.name) {
                pods.insert(link.ifindex, link.name.clone())
            } else {
                pods.remove(&link.ifindex)
            };
            let renamed = before.filter(|name| *name != link.name);
            renamed.or_else(|| (is_pods(&link.name) && !link.up).then(|| link.name.clone()))
        }
        _ => None,
    }
}

fn is_pods(link: &str) -> bool {
    link.starts_with(names::LINK_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::events::Link;

    fn link(ifindex: u32, name: &str, up: bool) -> Link {
        Link {
            ifindex,
            name: name.into(),
            up,
            mtu: 1500,
            carrier: up,
            mac: None,
            alias: None,
            peer_netns: None,
            peer_ifindex: None,
            addr_gen_mode: None,
            kind: None,
        }
    }

    #[test]
    fn a_link_that_is_down_gone_or_called_otherwise_is_told_of_by_its_first_name() {
        let mut pods = BTreeMap::new();
        let mut told = |event| hurt(&mut pods, &event);
        assert_eq!(told(Event::Link(link(7, "mgya", true))), None);
        assert_eq!(told(Event::Link(link(8, "eth0", false))), None);
        assert_eq!(told(Event::Link(link(7, "mgya", false))).unwrap(), "mgya");
        assert_eq!(told(Event::Link(link(7, "stray", true))).unwrap(), "mgya");
        assert_eq!(told(Event::Link(link(7, "stray", true))), None);
        assert_eq!(told(Event::LinkGone(link(7, "stray", false))), None);
        assert_eq!(told(Event::Link(link(9, "mgyb", true))), None);
        assert_eq!(told(Event::Link(link(9, "mgyc", true))).unwrap(), "mgyb");
        assert_eq!(
            told(Event::LinkGone(link(9, "mgyc", true))).unwrap(),
            "mgyc"
        );
    }
}
