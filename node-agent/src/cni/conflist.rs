//! What the runtime reads: the plugin binary and the network configuration list.

use anyhow::Context;
use margay_proto::names;
use serde_json::json;
use std::{os::unix::fs::PermissionsExt, path::Path};

/// Puts the plugin into the runtime's folder, whole or not at all; a running plugin keeps its old file.
///
/// # Errors
/// When either file system refuses.
pub fn install_plugin(source: &Path, folder: &Path) -> anyhow::Result<()> {
    let target = folder.join(names::CNI_NAME);
    let bytes = std::fs::read(source)
        .with_context(|| format!("read the plugin from {}", source.display()))?;
    if std::fs::read(&target).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let partial = folder.join(".margay.partial");
    std::fs::write(&partial, bytes).with_context(|| format!("write {}", partial.display()))?;
    std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&partial, &target).with_context(|| format!("install {}", target.display()))
}

/// Writes the network configuration list; the node is Ready for pods from then on, so this is called only when the agent can serve.
///
/// portmap is chained where the node has it, for host ports.
///
/// # Errors
/// When the file system refuses.
pub fn write(conflist: &Path, cni_bin: &Path) -> anyhow::Result<()> {
    let text = render(cni_bin.join("portmap").exists());
    if std::fs::read_to_string(conflist).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // The runtime reads every file that ends in .conflist: the partial one must not.
    let partial = conflist.with_extension("partial");
    std::fs::write(&partial, text).with_context(|| format!("write {}", partial.display()))?;
    std::fs::rename(&partial, conflist).with_context(|| format!("install {}", conflist.display()))
}

fn render(portmap: bool) -> String {
    let mut plugins = vec![json!({"type": names::CNI_NAME})];
    if portmap {
        plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    }
    format!(
        "{:#}\n",
        json!({"cniVersion": "1.0.0", "name": names::CNI_NAME, "plugins": plugins})
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn portmap_is_chained_where_it_exists() {
        assert!(super::render(true).contains("portMappings"));
        assert!(!super::render(false).contains("portmap"));
    }
}
