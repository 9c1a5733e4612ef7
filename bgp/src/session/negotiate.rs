//! What we offer in an OPEN, and what an OPEN of the peer makes of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::{PeerConfig, RemoteAs};
use crate::family::{Asn, Families, Family};
use crate::wire::{Capability, Context, Encoding, GracefulRestart, Notification, Open};

/// What both sides agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Negotiated {
    /// How UPDATEs are read.
    pub(crate) context: Context,
    /// How UPDATEs are written.
    pub(crate) encoding: Encoding,
    /// A refresh has a beginning and an end (RFC 7313).
    pub(crate) enhanced_refresh: bool,
    /// Silence after which the session is lost; zero for never.
    pub(crate) hold_time: Duration,
    /// The peer's OPEN.
    pub(crate) remote: Open,
    /// The peer's graceful restart, if both offered it.
    pub(crate) restart: Option<GracefulRestart>,
}

impl Negotiated {
    /// Interval of KEEPALIVEs: a third of the hold time (RFC 4271 §4.4).
    pub(crate) fn keepalive(&self) -> Duration {
        self.hold_time / 3
    }

    /// Both keep routes also after a NOTIFICATION (RFC 8538).
    pub(crate) fn graceful_notification(&self) -> bool {
        self.restart
            .as_ref()
            .is_some_and(|restart| restart.notification)
    }

    /// Families whose routes are kept while the peer is away.
    pub(crate) fn preserved(&self) -> Families {
        let mut families = Families::NONE;
        for family in self.context.families.iter() {
            families[family] = self
                .restart
                .as_ref()
                .is_some_and(|restart| restart.preserved(family).is_some());
        }
        families
    }

    /// Families that the peer forwarded for while it was away (F bit).
    pub(crate) fn forwarded(&self) -> Families {
        let mut families = Families::NONE;
        for family in self.context.families.iter() {
            let entry = self
                .restart
                .as_ref()
                .and_then(|restart| restart.preserved(family));
            families[family] = entry.is_some_and(|entry| entry.forwarding);
        }
        families
    }
}

/// The graceful restart bits of an OPEN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestartBits {
    /// R.
    pub(crate) restarting: bool,
    /// F for each family.
    pub(crate) forwarding: Families,
    /// Seconds.
    pub(crate) restart_time: u16,
}

/// Our OPEN for `peer`.
pub(crate) fn offer(
    peer: &PeerConfig,
    local_as: Asn,
    router_id: Ipv4Addr,
    bits: RestartBits,
) -> Open {
    let mut capabilities: Vec<_> = peer.families.iter().map(Capability::family).collect();
    capabilities.push(Capability::RouteRefresh);
    capabilities.push(Capability::ExtendedMessage);
    if peer.graceful_restart {
        let preserved = |family: Family| crate::wire::PreservedFamily {
            family,
            forwarding: bits.forwarding[family],
        };
        capabilities.push(Capability::GracefulRestart(GracefulRestart {
            restarting: bits.restarting,
            notification: true,
            restart_time: bits.restart_time.min(4095),
            families: peer.families.iter().map(preserved).collect(),
        }));
    }
    capabilities.push(Capability::FourOctetAs(local_as));
    capabilities.push(Capability::EnhancedRouteRefresh);
    Open {
        asn: local_as,
        hold_time: peer.hold_time,
        router_id,
        capabilities,
    }
}

/// Why an OPEN is refused: for the peer, and for people.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) notification: Notification,
    pub(crate) reason: String,
}

/// Checks the peer's OPEN against configuration and our own OPEN (RFC 4271 §6.2, RFC 6286, RFC 5492).
pub(crate) fn accept(peer: &PeerConfig, local: &Open, remote: Open) -> Result<Negotiated, Refused> {
    if !peer.remote_as.admits(remote.asn, local.asn) {
        let reason = match peer.remote_as {
            RemoteAs::Number(number) => {
                format!("peer's AS {} differs from configured {number}", remote.asn)
            }
            RemoteAs::Internal => format!(
                "peer's AS {} differs from ours, {}, but it is to be internal",
                remote.asn, local.asn
            ),
            RemoteAs::External => {
                format!("peer's AS {} is ours, but it is to be external", remote.asn)
            }
        };
        return Err(Refused {
            notification: Notification::new(Notification::OPEN, 2),
            reason,
        });
    }
    let external = remote.asn != local.asn;
    if !external && remote.router_id == local.router_id {
        let reason = format!("peer's BGP identifier {} is ours", remote.router_id);
        return Err(Refused {
            notification: Notification::new(Notification::OPEN, 3),
            reason,
        });
    }
    let families = local.families().intersect(remote.families());
    if families.is_empty() {
        let mut data = Vec::new();
        local
            .families()
            .iter()
            .for_each(|family| Capability::family(family).encode(&mut data));
        let names: Vec<_> = local
            .families()
            .iter()
            .map(|family| family.to_string())
            .collect();
        let reason = format!("peer speaks none of {}", names.join(", "));
        return Err(Refused {
            notification: Notification::with_data(Notification::OPEN, 7, data),
            reason,
        });
    }
    let restart = local
        .graceful_restart()
        .and_then(|_| remote.graceful_restart())
        .cloned();
    let four_octet_as = local.four_octet_as() && remote.four_octet_as();
    Ok(Negotiated {
        context: Context {
            four_octet_as,
            external,
            families,
        },
        encoding: Encoding {
            four_octet_as,
            extended_messages: local.extended_messages() && remote.extended_messages(),
        },
        enhanced_refresh: local.enhanced_refresh() && remote.enhanced_refresh(),
        hold_time: Duration::from_secs(u64::from(local.hold_time.min(remote.hold_time))),
        restart,
        remote,
    })
}

/// RFC 4271 §6.8 with RFC 6286 §2.3: whether the connection that *we* opened survives a collision.
pub(crate) fn keeps_own_connection(local: (Ipv4Addr, Asn), remote: (Ipv4Addr, Asn)) -> bool {
    (u32::from(local.0), local.1) > (u32::from(remote.0), remote.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(remote_as: RemoteAs) -> PeerConfig {
        PeerConfig::new("192.0.2.1".parse().unwrap(), remote_as)
    }

    fn open(config: &PeerConfig, asn: u32, id: [u8; 4]) -> Open {
        let bits = RestartBits {
            restarting: false,
            forwarding: Families::NONE,
            restart_time: 120,
        };
        offer(config, Asn(asn), id.into(), bits)
    }

    #[test]
    fn a_wrong_as_is_named_in_words() {
        let config = peer(RemoteAs::Number(Asn(65011)));
        let local = open(&config, 65000, [1, 1, 1, 1]);
        let refused = accept(&config, &local, open(&config, 65010, [2, 2, 2, 2])).unwrap_err();
        assert_eq!(
            refused.reason,
            "peer's AS 65010 differs from configured 65011"
        );
        assert_eq!(
            (refused.notification.code, refused.notification.subcode),
            (2, 2)
        );
    }

    #[test]
    fn internal_and_external_mean_what_they_say() {
        for (remote_as, same, other) in [
            (RemoteAs::Internal, true, false),
            (RemoteAs::External, false, true),
        ] {
            let config = peer(remote_as);
            let local = open(&config, 65000, [1, 1, 1, 1]);
            assert_eq!(
                accept(&config, &local, open(&config, 65000, [2, 2, 2, 2])).is_ok(),
                same
            );
            assert_eq!(
                accept(&config, &local, open(&config, 65001, [2, 2, 2, 2])).is_ok(),
                other
            );
        }
    }

    #[test]
    fn our_own_identifier_is_refused_from_internal_peers_only() {
        let config = peer(RemoteAs::Internal);
        let local = open(&config, 65000, [1, 1, 1, 1]);
        let refused = accept(&config, &local, open(&config, 65000, [1, 1, 1, 1])).unwrap_err();
        assert_eq!(
            (refused.notification.code, refused.notification.subcode),
            (2, 3)
        );
        let config = peer(RemoteAs::External);
        assert!(accept(&config, &local, open(&config, 65001, [1, 1, 1, 1])).is_ok());
    }

    #[test]
    fn no_common_family_is_an_unsupported_capability() {
        let config = peer(RemoteAs::External);
        let v6 = PeerConfig {
            families: Families {
                v4: false,
                v6: true,
            },
            ..config.clone()
        };
        let v4 = PeerConfig {
            families: Families {
                v4: true,
                v6: false,
            },
            ..config.clone()
        };
        let refused =
            accept(&v6, &open(&v6, 1, [1, 1, 1, 1]), open(&v4, 2, [2, 2, 2, 2])).unwrap_err();
        assert_eq!(
            (refused.notification.code, refused.notification.subcode),
            (2, 7)
        );
        assert_eq!(refused.notification.data, [1, 4, 0, 2, 0, 1]);
        assert_eq!(refused.reason, "peer speaks none of ipv6-unicast");
    }

    #[test]
    fn the_shorter_hold_time_wins_and_zero_is_none() {
        let config = peer(RemoteAs::External);
        let mut remote = open(&config, 2, [2, 2, 2, 2]);
        remote.hold_time = 3;
        let local = open(&config, 1, [1, 1, 1, 1]);
        let negotiated = accept(&config, &local, remote.clone()).unwrap();
        assert_eq!(negotiated.hold_time, Duration::from_secs(3));
        assert_eq!(negotiated.keepalive(), Duration::from_secs(1));
        remote.hold_time = 0;
        assert!(accept(&config, &local, remote).unwrap().hold_time.is_zero());
    }
}
