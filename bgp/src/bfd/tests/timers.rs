use super::*;

#[test]
fn item_117_each_end_sends_as_slowly_as_the_slower_wish() {
    let fast_sender = Parameters {
        min_tx: MILLI * 50,
        ..parameters(300, 3)
    };
    let slow_sender = Parameters {
        min_tx: MILLI * 700,
        min_rx: MILLI * 100,
        ..parameters(300, 5)
    };
    let pair = Pair::up([fast_sender, slow_sender]);
    let interval = |end: usize| pair.status(end).transmit_interval.unwrap();
    assert_eq!(interval(0), MILLI * 100);
    assert_eq!(interval(1), MILLI * 700);
    // The other end's multiplier times the slower of its wish and what we bear (RFC 5880 §6.8.4).
    assert_eq!(pair.status(0).detection_time, Some(MILLI * 700 * 5));
    assert_eq!(pair.status(1).detection_time, Some(MILLI * 100 * 3));
}

#[test]
fn item_117_jitter_takes_up_to_a_quarter() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.advance(SECOND * 300);
    assert!(pair.changes.iter().all(Vec::is_empty));
    for end in 0..2 {
        let pauses = pair.pauses(end);
        assert!(pauses.len() > 1000);
        assert!(
            pauses
                .iter()
                .all(|p| (MILLI * 225..=MILLI * 300).contains(p))
        );
        // It is spread over the whole range.
        assert!(pauses.iter().any(|p| *p < MILLI * 235));
        assert!(pauses.iter().any(|p| *p > MILLI * 290));
    }
}

#[test]
fn item_117_with_multiplier_one_a_tenth_is_left() {
    let mut pair = Pair::up([parameters(300, 1); 2]);
    pair.advance(SECOND * 300);
    assert!(pair.changes.iter().all(Vec::is_empty));
    let pauses = pair.pauses(0);
    assert!(
        pauses
            .iter()
            .all(|p| (MILLI * 225..=MILLI * 270).contains(p))
    );
    assert!(pauses.iter().any(|p| *p > MILLI * 265));
}

#[test]
fn item_117_who_is_not_up_sends_once_a_second() {
    let mut pair = Pair::new([parameters(50, 3); 2]);
    pair.carries = [false; 2];
    pair.advance(SECOND * 100);
    assert_eq!(pair.states(), [State::Down; 2]);
    let slow = MILLI * 750..=SECOND;
    assert!(pair.pauses(0).iter().all(|pause| slow.contains(pause)));
    let announced = |sent: &Sent| sent.packet.desired_min_tx >= SECOND;
    assert!(pair.sent.iter().all(announced));
}

#[test]
fn item_117_a_configured_interval_above_a_second_stays() {
    let mut pair = Pair::up([parameters(2000, 3); 2]);
    pair.advance(SECOND * 60);
    assert!(pair.pauses(0).iter().all(|pause| *pause >= MILLI * 1500));
    // Nothing changed when it came up, so nothing is polled.
    assert!(!pair.sent.iter().any(|sent| sent.packet.poll));
}

#[test]
fn item_117_coming_up_polls_and_the_final_ends_it() {
    let mut pair = Pair::new([parameters(300, 3); 2]);
    pair.advance(SECOND * 10);
    for end in 0..2 {
        let of = |sent: &&Sent| sent.by == end;
        let polls = pair.sent.iter().filter(of).filter(|s| s.packet.poll);
        assert!((1..=2).contains(&polls.count()), "answered at once");
        let last = pair.sent.iter().rfind(of).unwrap().packet;
        assert!(!last.poll && !last.is_final);
        let finals = pair.sent.iter().filter(of).filter(|s| s.packet.is_final);
        assert!(finals.count() >= 1);
    }
}

#[test]
fn item_117_a_poll_is_repeated_until_it_is_answered() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.carries[1] = false;
    pair.configure(0, parameters(200, 3));
    pair.advance(MILLI * 500);
    let polls = pair.sent.iter().filter(|s| s.by == 0);
    assert!(polls.clone().count() >= 2 && polls.clone().all(|s| s.packet.poll));
    pair.carries[1] = true;
    pair.advance(MILLI * 400);
    assert!(!pair.sent.iter().rfind(|s| s.by == 0).unwrap().packet.poll);
}

#[test]
fn item_117_slower_counts_only_after_the_answer() {
    let mut pair = Pair::up([parameters(100, 3); 2]);
    pair.carries[1] = false;
    pair.configure(0, parameters(250, 3));
    pair.advance(MILLI * 200);
    // Announced at once; in force are the old pause and the new patience.
    let status = pair.status(0);
    assert_eq!(status.transmit_interval, Some(MILLI * 100));
    assert_eq!(status.detection_time, Some(MILLI * 250 * 3));
    let last = pair.sent.iter().rfind(|sent| sent.by == 0).unwrap();
    assert_eq!(last.packet.desired_min_tx, MILLI * 250);
    pair.carries[1] = true;
    pair.advance(MILLI * 200);
    assert_eq!(pair.status(0).transmit_interval, Some(MILLI * 250));
}

#[test]
fn item_117_less_patience_counts_only_after_the_answer() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.carries[1] = false;
    let less = Parameters {
        min_rx: MILLI * 50,
        ..parameters(300, 3)
    };
    pair.configure(0, less);
    assert_eq!(pair.status(0).detection_time, Some(MILLI * 900));
    pair.carries[1] = true;
    pair.advance(SECOND);
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn item_117_changes_during_a_poll_are_polled_again() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.carries[1] = false;
    pair.configure(0, parameters(200, 3));
    pair.configure(0, parameters(100, 3));
    pair.carries[1] = true;
    pair.advance(SECOND * 2);
    let answers = pair.sent.iter().filter(|s| s.by == 1 && s.packet.is_final);
    assert!(answers.count() >= 2);
    assert_eq!(pair.status(0).transmit_interval, Some(MILLI * 300));
    assert_eq!(pair.status(1).transmit_interval, Some(MILLI * 300));
    assert_eq!(pair.status(0).detection_time, Some(MILLI * 900));
    assert!(pair.changes.iter().all(Vec::is_empty));
}

#[test]
fn item_117_silence_is_noticed_after_the_detection_time_and_not_before() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.advance(SECOND);
    let last = pair.sent.iter().rfind(|sent| sent.by == 1).unwrap().at;
    pair.carries[1] = false;
    let left = MILLI * 900 - (pair.now - last);
    pair.advance(left - MILLI);
    assert_eq!(pair.status(0).state, State::Up);
    pair.advance(MILLI);
    assert_eq!(pair.status(0).state, State::Down);
    let change = pair.changes[0][0];
    assert_eq!(change.diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
    // It says so at once, and the other end, which hears it, goes down too.
    assert_eq!(pair.status(1).state, State::Down);
    assert_eq!(
        pair.changes[1][0].diagnostic,
        Diagnostic::NEIGHBOR_SIGNALED_DOWN
    );
}

#[test]
fn item_117_who_wants_no_packets_gets_none() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.carries = [false; 2];
    let mut packet = pair.sent_by_other_end();
    packet.required_min_rx = Duration::ZERO;
    pair.inject(0, &packet.encode()).unwrap();
    pair.forget();
    pair.advance(MILLI * 800);
    assert!(!pair.sent.iter().any(|sent| sent.by == 0));
    // But a poll is answered (RFC 5880 §6.8.7).
    packet.poll = true;
    pair.inject(0, &packet.encode()).unwrap();
    pair.settle();
    assert!(pair.sent.iter().any(|s| s.by == 0 && s.packet.is_final));
}

#[test]
fn a_peer_in_demand_mode_is_left_in_peace_while_both_are_up() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.carries = [false; 2];
    let mut packet = pair.sent_by_other_end();
    packet.demand = true;
    pair.inject(0, &packet.encode()).unwrap();
    pair.forget();
    pair.advance(MILLI * 800);
    assert!(!pair.sent.iter().any(|sent| sent.by == 0));
}

impl Pair {
    /// What end 1 would send now.
    fn sent_by_other_end(&mut self) -> Packet {
        let status = self.status(1);
        Packet {
            diagnostic: Diagnostic::NONE,
            state: State::Up,
            poll: false,
            is_final: false,
            control_plane_independent: false,
            demand: false,
            multiplier: 3,
            my_discriminator: status.local_discriminator,
            your_discriminator: status.remote_discriminator,
            desired_min_tx: MILLI * 300,
            required_min_rx: MILLI * 300,
            required_min_echo_rx: Duration::ZERO,
        }
    }
}
