//! The state machine of RFC 4271 §8.2.2: each of the 28 events of §8.1 in each of the six states.
//!
//! A row says the state that follows and what is said or done, in order: a message by its name, a NOTIFICATION by its codes (the
//! connection is closed then), `closed` without one, `dial`. Rows that begin with `-` cannot happen, with the reason: an optional
//! attribute of the session (§8.1.1) that is not offered, or a timer or connection that the state does not have.

use margay_bgp::State;

use crate::script::SECOND;
use crate::stage::Stage;

const DELAY_OPEN: &str = "- DelayOpen is not offered";
const KERNEL: &str = "- the kernel makes connections, events 16 and 17 report them";
const NO_HOLD: &str = "- no hold timer without a connection";
const NO_KEEPALIVE: &str = "- no keepalive timer before OpenConfirm";
const NO_PAUSE: &str = "- runs in Idle only";
const NOT_ASKED: &str = "- no connection was asked for";
const NOT_TWICE: &str = "- one connection is asked for, and it is made already";
const SILENT: &str = "- nothing can be heard without a connection";

/// Events in the order of §8.1; Idle, Connect, Active, OpenSent, OpenConfirm, Established.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 6]); 28] = [
    ("1 ManualStart", ["Connect dial", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"]),
    ("2 ManualStop", ["Idle", "Idle closed", "Idle", "Idle 6/2", "Idle 6/2", "Idle 6/2"]),
    ("3 AutomaticStart", ["Connect dial", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"]),
    // What waits or dials changes its mind; what has a connection keeps it.
    ("4 ManualStart passive", ["Active", "Active closed", "Active", "OpenSent", "OpenConfirm", "Established"]),
    ("5 AutomaticStart passive", ["Active", "Active closed", "Active", "OpenSent", "OpenConfirm", "Established"]),
    ("6 AutomaticStart damped", ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"]),
    ("7 AutomaticStart damped passive", ["- who waits for the peer has no pause to damp"; 6]),
    ("8 AutomaticStop", ["Idle", "Idle closed", "Idle", "Idle 6/3", "Idle 6/3", "Idle 6/3"]),
    ("9 ConnectRetryTimer_Expires", ["- is event 13 in Idle", "Connect closed dial", "Connect dial", "OpenSent", "OpenConfirm", "Established"]),
    ("10 HoldTimer_Expires", [NO_HOLD, NO_HOLD, NO_HOLD, "Idle 4/0", "Idle keepalive 4/0", "Idle keepalive 4/0"]),
    ("11 KeepaliveTimer_Expires", [NO_KEEPALIVE, NO_KEEPALIVE, NO_KEEPALIVE, NO_KEEPALIVE, "OpenConfirm keepalive", "Established keepalive"]),
    ("12 DelayOpenTimer_Expires", [DELAY_OPEN; 6]),
    ("13 IdleHoldTimer_Expires", ["Connect dial", NO_PAUSE, NO_PAUSE, NO_PAUSE, NO_PAUSE, NO_PAUSE]),
    ("14 TcpConnection_Valid", [KERNEL; 6]),
    ("15 Tcp_CR_Invalid", ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"]),
    ("16 Tcp_CR_Acked", [NOT_ASKED, "OpenSent open", NOT_ASKED, NOT_TWICE, NOT_TWICE, NOT_TWICE]),
    // The pause after an error holds our own attempts only: a peer that comes by itself is welcome.
    ("17 TcpConnectionConfirmed", ["OpenSent open", "OpenSent open", "OpenSent open", "OpenSent open", "OpenConfirm open", "Established"]),
    ("18 TcpConnectionFails", ["Idle", "Active closed", NOT_ASKED, "Active closed", "Idle closed", "Idle closed"]),
    ("19 BGPOpen", ["Idle", SILENT, SILENT, "OpenConfirm keepalive", "Idle 5/2", "Idle 5/3"]),
    ("20 BGPOpen, DelayOpenTimer running", [DELAY_OPEN; 6]),
    ("21 BGPHeaderErr", ["Idle", SILENT, SILENT, "Idle 1/1", "Idle 1/1", "Idle 1/1"]),
    ("22 BGPOpenMsgErr", ["Idle", SILENT, SILENT, "Idle 2/1", "Idle 5/2", "Idle 5/3"]),
    // The other connection goes on.
    ("23 OpenCollisionDump", [SILENT, SILENT, SILENT, "OpenConfirm 6/7", "OpenConfirm 6/7", "- Established wins: CollisionDetectEstablishedState is not offered"]),
    ("24 NotifMsgVerErr", ["Idle", SILENT, SILENT, "Idle closed", "Idle closed", "Idle closed"]),
    // RFC 4271 answers it by FSM Error in OpenSent; a NOTIFICATION is never answered here.
    ("25 NotifMsg", ["Idle", SILENT, SILENT, "Idle closed", "Idle closed", "Idle closed"]),
    ("26 KeepAliveMsg", ["Idle", SILENT, SILENT, "Idle 5/1", "Established update", "Established"]),
    ("27 UpdateMsg", ["Idle", SILENT, SILENT, "Idle 5/1", "Idle 5/2", "Established"]),
    ("28 UpdateMsgErr", ["Idle", SILENT, SILENT, "Idle 5/1", "Idle 5/2", "Idle 3/1"]),
];

const STATES: [State; 6] = [
    State::Idle,
    State::Connect,
    State::Active,
    State::OpenSent,
    State::OpenConfirm,
    State::Established,
];

#[test]
fn every_event_in_every_state() {
    let mut wrong = Vec::new();
    for (number, (name, row)) in (1..).zip(TABLE) {
        assert!(name.starts_with(&format!("{number} ")), "{name}");
        for (state, expected) in STATES.into_iter().zip(row) {
            if expected.starts_with('-') {
                continue;
            }
            let found = Stage::at(state).play(number);
            if found != expected {
                wrong.push(format!("{name} in {state}: {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn item_033_manual_stop_in_every_state() {
    for state in STATES {
        let mut stage = Stage::at(state);
        let found = stage.play(2);
        assert_eq!(
            found.ends_with("6/2"),
            state >= State::OpenSent,
            "{state}: {found}"
        );
        // And it stays so.
        stage.script.wait(SECOND * 600);
        assert_eq!(stage.script.status().state, State::Idle);
        assert!(stage.script.dials.is_empty());
    }
}
