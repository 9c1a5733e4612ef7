//! What the machine must have: root, and the programs of a few Debian packages.

use std::path::Path;

use anyhow::{Result, bail};

/// A program, and the Debian package that brings it.
const TOOLS: [(&str, &str); 17] = [
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("bird", "bird2"),
    ("birdc", "bird2"),
    ("/usr/lib/frr/zebra", "frr"),
    ("/usr/lib/frr/bgpd", "frr"),
    ("vtysh", "frr"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("/usr/lib/cni/portmap", "containernetworking-plugins"),
];

const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Checks for root.
///
/// # Errors
/// Says what to do.
pub(crate) fn check_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "a lab is made of network namespaces and mounts, which takes root: run this with sudo"
        );
    }
    Ok(())
}

/// Checks for root and every tool.
///
/// # Errors
/// Names everything that is missing and the command that installs it.
pub(crate) fn check() -> Result<()> {
    check_root()?;
    let missing = missing(|path| path.exists());
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    bail!(
        "missing: {}; `apt-get install {}` brings them",
        names.join(", "),
        packages.join(" ")
    );
}

fn missing(exists: impl Fn(&Path) -> bool) -> Vec<(&'static str, &'static str)> {
    // Joining an absolute path gives that path.
    let found = |tool: &str| {
        FOLDERS
            .iter()
            .any(|folder| exists(&Path::new(folder).join(tool)))
    };
    TOOLS.into_iter().filter(|(tool, _)| !found(tool)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_package_of_what_is_missing() {
        let without_frr = missing(|path| !path.to_string_lossy().contains("frr"));
        assert_eq!(
            without_frr,
            [("/usr/lib/frr/zebra", "frr"), ("/usr/lib/frr/bgpd", "frr")]
        );
        assert!(missing(|_| true).is_empty());
    }
}
