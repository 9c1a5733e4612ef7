//! Network namespaces and what connects them, made with `ip`.
//!
//! No interface ever appears in the machine's own namespace: both ends of a pair are created in place.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::plan::{DefaultRoute, Link, Plan, Port, namespace_prefix};

const NETNS: &str = "/run/netns";

/// Makes every namespace of the plan.
pub(crate) fn create_namespaces(plan: &Plan) -> Result<()> {
    let namespaces = plan
        .places()
        .iter()
        .map(|place| format!("netns add {}\n", plan.namespace(place)))
        .collect::<String>();
    batch(Command::new("ip"), &namespaces).context("making network namespaces")
}

/// Makes the namespace of one place.
pub(crate) fn create_place(plan: &Plan, place: &str) -> Result<()> {
    let command = format!("netns add {}\n", plan.namespace(place));
    batch(Command::new("ip"), &command).context("making a network namespace")
}

/// Makes the links of one place to the others, with addresses and default routes, as [`connect`] does for all.
pub(crate) fn connect_place(plan: &Plan, place: &str) -> Result<()> {
    let mut outside = Command::new("unshare");
    outside.args(["--net", "ip"]);
    let links: Vec<Link> = plan
        .links()
        .into_iter()
        .filter(|link| touches(link, place))
        .collect();
    let made: String = links.iter().map(|link| pair(plan, link)).collect();
    batch(outside, &made).with_context(|| format!("making the links of {place}"))?;
    let ends = links.iter().flat_map(|link| [&link.left, &link.right]);
    for end in ends.filter(|end| end.place != place) {
        let mut ip = Command::new("ip");
        ip.args(["-n", &plan.namespace(&end.place)]);
        batch(ip, &port(end)).with_context(|| format!("the end of a link in {}", end.place))?;
    }
    let mut ip = Command::new("ip");
    ip.args(["-n", &plan.namespace(place)]);
    batch(ip, &settings(plan, place)).with_context(|| format!("addresses and routes of {place}"))
}

/// Removes one place's links, which takes the other ends with them.
pub(crate) fn disconnect_place(plan: &Plan, place: &str) -> Result<()> {
    let ends = plan.links().into_iter().filter_map(|link| {
        let end = [link.left, link.right]
            .into_iter()
            .find(|end| end.place == place);
        end.map(|end| format!("link del {}\n", end.device))
    });
    let mut ip = Command::new("ip");
    ip.args(["-n", &plan.namespace(place)]);
    batch(ip, &ends.collect::<String>()).with_context(|| format!("removing links of {place}"))
}

/// Removes the namespace of one place.
pub(crate) fn remove_place(plan: &Plan, place: &str) -> Result<()> {
    let command = format!("netns del {}\n", plan.namespace(place));
    batch(Command::new("ip"), &command).context("removing a network namespace")
}

/// Makes every bridge and link of the plan, with addresses and default routes.
pub(crate) fn connect(plan: &Plan) -> Result<()> {
    // In an empty namespace of its own: the kernel refuses a name that the namespace of the caller has.
    let mut outside = Command::new("unshare");
    outside.args(["--net", "ip"]);
    batch(outside, &devices(plan)).context("making links")?;
    for place in plan.places() {
        let mut ip = Command::new("ip");
        ip.args(["-n", &plan.namespace(&place)]);
        batch(ip, &settings(plan, &place))
            .with_context(|| format!("addresses and routes of {place}"))?;
    }
    Ok(())
}

/// The paths of the lab's namespaces that exist.
pub(crate) fn existing(lab: &str) -> Vec<PathBuf> {
    let prefix = namespace_prefix(lab);
    let Ok(folder) = fs::read_dir(NETNS) else {
        return Vec::new();
    };
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    // A place has no hyphen: what has one belongs to a lab whose name begins with this one's.
    let ours = names.filter(|name| {
        name.strip_prefix(&prefix)
            .is_some_and(|place| !place.contains('-'))
    });
    ours.map(|name| Path::new(NETNS).join(name)).collect()
}

/// Removes the lab's namespaces, and with them every interface; and the folder's mount when nothing else is in it.
pub(crate) fn remove(lab: &str) -> Result<()> {
    let names = existing(lab);
    let names = names.iter().filter_map(|path| path.file_name()?.to_str());
    let commands: String = names.map(|name| format!("netns del {name}\n")).collect();
    if !commands.is_empty() {
        batch(Command::new("ip"), &commands).context("removing network namespaces")?;
    }
    // `ip netns` mounts the folder on itself. The kernel refuses if another namespace came meanwhile, which is right.
    if fs::read_dir(NETNS).is_ok_and(|mut folder| folder.next().is_none()) {
        let _ = Command::new("umount")
            .arg(NETNS)
            .stderr(Stdio::null())
            .status();
    }
    Ok(())
}

fn devices(plan: &Plan) -> String {
    let mut text = String::new();
    for (number, bridge) in plan.bridges().iter().enumerate() {
        // Of its own: else it is that of a port, and changes under everybody's neighbour entries when a node loses its power.
        text += &format!(
            "link add {} netns {} address 02:00:5e:00:00:{number:02x} type bridge\n",
            bridge.device,
            plan.namespace(&bridge.place)
        );
    }
    for link in plan.links() {
        text += &pair(plan, &link);
    }
    text
}

fn touches(link: &Link, place: &str) -> bool {
    link.left.place == place || link.right.place == place
}

fn pair(plan: &Plan, link: &Link) -> String {
    let (left, right) = (&link.left, &link.right);
    format!(
        "link add {} netns {} type veth peer name {} netns {}\n",
        left.device,
        plan.namespace(&left.place),
        right.device,
        plan.namespace(&right.place),
    )
}

/// Everything inside one place. Addresses skip duplicate detection: they would be unusable for their first second.
fn settings(plan: &Plan, place: &str) -> String {
    let mut text = up("lo", &plan.loopbacks(place));
    for bridge in plan.bridges().iter().filter(|bridge| bridge.place == place) {
        text += &up(bridge.device, &bridge.addresses);
    }
    let links = plan.links();
    let ports: Vec<&Port> = links
        .iter()
        .flat_map(|link| [&link.left, &link.right])
        .filter(|port| port.place == place)
        .collect();
    text.extend(ports.into_iter().map(port));
    let own = |route: &DefaultRoute| route.place == place;
    for route in plan.default_routes().into_iter().filter(own) {
        for line in route.lines() {
            text += &format!("route add {line}\n");
        }
    }
    text
}

fn port(port: &Port) -> String {
    let mut text = String::new();
    if let Some(bridge) = port.bridge {
        text += &format!("link set {} master {bridge}\n", port.device);
    }
    text + &up(&port.device, &port.addresses)
}

fn up(device: &str, addresses: &[String]) -> String {
    let mut text = String::new();
    for address in addresses {
        let flags = if address.contains(':') { " nodad" } else { "" };
        text += &format!("addr add {address} dev {device}{flags}\n");
    }
    text + &format!("link set {device} up\n")
}

fn batch(mut ip: Command, commands: &str) -> Result<()> {
    let ip = ip
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = ip.spawn().context("starting ip")?;
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(commands.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Spec;

    #[test]
    fn a_node_has_its_addresses_and_a_default_route_by_the_tor() {
        let plan = Plan::new(&Spec::default()).unwrap();
        let text = settings(&plan, "n3");
        assert!(text.contains("addr add 172.31.2.13/24 dev fabric0\n"));
        assert!(text.contains("addr add fd31:2::13/64 dev fabric0 nodad\n"));
        assert!(text.contains("addr add 192.168.77.103/24 dev mgmt0\n"));
        assert!(text.contains("route add default via 172.31.2.1 proto static\n"));
        assert!(text.contains("route add default via fd31:2::1 proto static\n"));
    }

    #[test]
    fn with_two_uplinks_the_node_s_address_is_on_its_loopback() {
        let plan = Plan::new(&Spec {
            uplinks: 2,
            ..Spec::default()
        });
        let text = settings(&plan.unwrap(), "n3");
        assert!(text.contains("addr add 172.27.2.13/32 dev lo\n"));
        assert!(text.contains("addr add fd27:2::13/128 dev lo nodad\n"));
        assert!(text.contains("addr add 172.31.2.27/31 dev fabric0\n"));
        assert!(text.contains("addr add fd29:2:13::2/64 dev fabric1 nodad\n"));
        let default = "route add default src 172.27.2.13 proto static nexthop via 172.31.2.26 nexthop via 172.29.2.26\n";
        assert!(text.contains(default));
    }

    #[test]
    fn both_ends_are_made_inside_the_lab() {
        let plan = Plan::new(&Spec::default()).unwrap();
        for line in devices(&plan).lines().filter(|line| line.contains("veth")) {
            assert_eq!(line.matches(" netns mgl-margay-").count(), 2, "{line}");
        }
    }
}
