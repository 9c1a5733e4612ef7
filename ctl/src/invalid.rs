//! Arguments that parse but cannot be meant.

use ipnetwork::IpNetwork;
use std::collections::BTreeMap;

/// Wrong usage: exit code 2, and the help's hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Reads a network; clap puts option and value before the error.
///
/// # Errors
/// What is wrong and, for host bits, the network that was probably meant.
pub(crate) fn network(text: &str) -> Result<IpNetwork, String> {
    let parsed = text.contains('/').then(|| text.parse::<IpNetwork>());
    let Some(Ok(network)) = parsed else {
        return Err(
            "not a network in CIDR notation, such as 10.244.0.0/16 or fd00:10:244::/56".to_owned(),
        );
    };
    let masked = masked(network);
    if masked == network {
        Ok(network)
    } else {
        Err(format!(
            "has bits set beyond its prefix length; did you mean {masked}?"
        ))
    }
}

/// Reads a prefix to look up: a network, or an address for the route that covers it.
///
/// # Errors
/// As [`network`].
pub(crate) fn lookup(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    network(text).map(|network| network.to_string())
}

/// Reads a peer: an address, or the name of the object that asked for the session.
///
/// # Errors
/// When it is neither.
pub(crate) fn peer(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return Err(
            "give a peer's address or name, as `margayctl bgp peers` lists them".to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Reads `key=value,key=value`.
///
/// # Errors
/// Which pair is not a label, by the API's rules.
pub(crate) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    text.split(',').map(label).collect()
}

fn label(pair: &str) -> Result<(String, String), String> {
    let (key, value) = pair
        .split_once('=')
        .ok_or_else(|| format!("{pair:?} is not key=value"))?;
    let (prefix, name) = key
        .rsplit_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if name.is_empty() || !is_label(name) || prefix.is_some_and(str::is_empty) {
        return Err(format!(
            "{key:?} is not a label key, such as topology.margay.dev/rack"
        ));
    }
    if !is_label(value) {
        return Err(format!(
            "{value:?} is not a label value: at most 63 letters, digits, '-', '_' and '.'"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// A label's name or value (Kubernetes, "Labels and Selectors", syntax); a value may be empty.
fn is_label(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && (text.is_empty() || text.starts_with(ends) && text.ends_with(ends))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn masked(network: IpNetwork) -> IpNetwork {
    IpNetwork::new(network.network(), network.prefix())
        .expect("the prefix length is the network's own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_suggest_the_network() {
        assert_eq!(
            network("10.244.0.0/16").unwrap().to_string(),
            "10.244.0.0/16"
        );
        assert_eq!(
            network("10.244.3.0/16").unwrap_err(),
            "has bits set beyond its prefix length; did you mean 10.244.0.0/16?"
        );
        assert_eq!(
            network("fd00::1/64").unwrap_err(),
            "has bits set beyond its prefix length; did you mean fd00::/64?"
        );
        for text in [
            "",
            "10.244.0.0",
            "10.244.0.0/33",
            "10.244/16",
            "fd00::/129",
            "10.0.0.0/255.0.0.0x",
            "x/8",
        ] {
            assert!(
                network(text).unwrap_err().starts_with("not a network"),
                "{text}"
            );
        }
    }

    #[test]
    fn lookups_take_networks_and_addresses() {
        assert_eq!(lookup("10.244.0.7").as_deref(), Ok("10.244.0.7"));
        assert_eq!(lookup("FD00:0::7").as_deref(), Ok("fd00::7"));
        assert_eq!(lookup("10.244.0.64/26").as_deref(), Ok("10.244.0.64/26"));
        assert!(lookup("10.244.0.65/26").is_err());
    }

    #[test]
    fn labels_follow_the_api_s_rules() {
        let read = labels("topology.margay.dev/rack=rack1,zone=").unwrap();
        assert_eq!(read["topology.margay.dev/rack"], "rack1");
        assert_eq!(read["zone"], "");
        for text in ["", "rack", "=x", "a/=x", "/a=x", "a=b c", "a=-b", "a=b,"] {
            assert!(labels(text).is_err(), "{text}");
        }
    }
}
