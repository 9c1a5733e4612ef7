//! `curl` from inside any network namespace.

use anyhow::{Context, Result, bail};
use margay_lab::Lab;
use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    process::{Command, Output},
    time::Duration,
};

/// Runs a tool of the machine in the network namespace of `source`: `n1`, `outside`, `pod:demo/a`.
pub(crate) fn inside(lab: &Lab, source: &str, argv: &[&str]) -> Result<Output> {
    let namespace = lab.netns(source)?;
    let path = format!(
        "--net=/proc/{}/fd/{}",
        std::process::id(),
        namespace.as_raw_fd()
    );
    Command::new("nsenter")
        .arg(path)
        .arg("--")
        .args(argv)
        .output()
        .with_context(|| format!("{} in {source}", argv.join(" ")))
}

/// What `GET path` answers, within `limit`.
///
/// # Errors
/// When nothing answers: curl's own words.
pub(crate) fn get(
    lab: &Lab,
    source: &str,
    to: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<String> {
    let url = format!("http://{to}{path}");
    let limit = format!("{:.2}", limit.as_secs_f64());
    let output = inside(
        lab,
        source,
        &["curl", "-sS", "-g", "--max-time", &limit, &url],
    )?;
    if !output.status.success() {
        bail!(
            "{source} -> {to}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The source address that the server at `to` (agnhost netexec) saw.
pub(crate) fn source_seen(lab: &Lab, source: &str, to: SocketAddr) -> Result<IpAddr> {
    let seen = get(lab, source, to, "/clientip", Duration::from_secs(3))?;
    let seen: SocketAddr = seen
        .parse()
        .with_context(|| format!("`{seen}` is not an address and port"))?;
    Ok(seen.ip())
}

/// Whether a connection opens within 300 ms.
pub(crate) fn opens(lab: &Lab, source: &str, to: SocketAddr) -> bool {
    get(lab, source, to, "/clientip", Duration::from_millis(300)).is_ok()
}
