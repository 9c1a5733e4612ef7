use super::*;

#[test]
fn two_ends_come_up_in_two_slow_intervals() {
    for seed in 0..200 {
        let mut pair = Pair::seeded([parameters(300, 3); 2], seed);
        pair.advance(SECOND * 2);
        assert_eq!(pair.states(), [State::Up; 2], "seed {seed}");
        assert_eq!(pair.status(0).ups, 1);
        assert_eq!(pair.status(0).losses, 0);
    }
}

#[test]
fn a_path_that_carries_one_way_only_is_never_up() {
    let mut pair = Pair::new([parameters(300, 3); 2]);
    pair.carries[0] = false;
    pair.advance(SECOND * 30);
    assert_ne!(pair.status(0).state, State::Up);
    assert_eq!(pair.status(1).state, State::Down);
    assert_eq!(pair.status(0).losses, 0, "what was never up is not lost");
}

#[test]
fn a_loss_is_counted_once_and_the_session_comes_back() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.carries = [false; 2];
    pair.advance(SECOND * 5);
    for end in 0..2 {
        let status = pair.status(end);
        assert_eq!((status.state, status.losses), (State::Down, 1));
        assert_eq!(status.remote_discriminator, 0, "RFC 5880 §6.8.1");
        let loss = status.last_loss.unwrap();
        assert!(loss.shares_fate);
        assert_eq!(loss.to_string(), "BFD: control detection time expired");
    }
    pair.carries = [true; 2];
    pair.advance(SECOND * 3);
    assert_eq!(pair.states(), [State::Up; 2]);
    assert_eq!(pair.status(0).ups, 2);
    assert_eq!(pair.status(0).diagnostic, Diagnostic::NONE);
}

#[test]
fn item_118_an_end_that_is_switched_off_is_no_loss() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    let now = pair.now;
    pair.ends[0].shutdown(now);
    pair.settle();
    assert_eq!(pair.status(1).state, State::Down);
    assert_eq!(pair.status(1).remote_state, State::AdminDown);
    assert_eq!(pair.status(1).losses, 0);
    let change = pair.changes[1][0];
    assert_eq!((change.to, change.loss), (State::Down, None));
    assert_eq!(change.diagnostic, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
    let own = pair.changes[0][0];
    assert_eq!((own.to, own.loss), (State::AdminDown, None));
    // It goes on saying so, and then nothing more is said.
    let last = pair.sent.iter().rfind(|sent| sent.by == 0).unwrap().packet;
    assert_eq!(last.state, State::AdminDown);
    assert_eq!(last.diagnostic, Diagnostic::ADMINISTRATIVELY_DOWN);
    pair.advance(SECOND * 5);
    pair.forget();
    pair.advance(SECOND * 10);
    assert!(!pair.sent.iter().any(|sent| sent.by == 0));
    assert_eq!(pair.status(1).losses, 0, "nor is its silence");
}

#[test]
fn item_118_the_word_of_being_switched_off_survives_a_lost_packet() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    let now = pair.now;
    pair.ends[0].shutdown(now);
    let mut outputs = Vec::new();
    while let Some(output) = pair.ends[0].poll_output() {
        outputs.extend(match output {
            Output::Send { octets, .. } => Some(octets),
            _ => None,
        });
    }
    assert_eq!(outputs.len(), 3);
    pair.inject(1, &outputs[2]).unwrap();
    assert_eq!(pair.status(1).losses, 0);
    assert_eq!(pair.status(1).state, State::Down);
}

#[test]
fn a_session_that_is_switched_on_again_is_the_same() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    let name = pair.status(0).local_discriminator;
    pair.ends[0].apply(Vec::new(), pair.now);
    pair.settle();
    pair.configure(0, parameters(300, 3));
    pair.advance(SECOND * 4);
    assert_eq!(pair.states(), [State::Up; 2]);
    assert_eq!(pair.status(0).local_discriminator, name);
}

#[test]
fn item_119_the_c_bit_tells_whether_a_loss_may_be_a_restart() {
    for independent in [false, true] {
        let mut pair = Pair::up([parameters(300, 3); 2]);
        pair.carries = [false; 2];
        let status = pair.status(0);
        let packet = Packet {
            diagnostic: Diagnostic::NONE,
            state: State::Up,
            poll: false,
            is_final: false,
            control_plane_independent: independent,
            demand: false,
            multiplier: 3,
            my_discriminator: status.remote_discriminator,
            your_discriminator: status.local_discriminator,
            desired_min_tx: MILLI * 300,
            required_min_rx: MILLI * 300,
            required_min_echo_rx: Duration::ZERO,
        };
        pair.inject(0, &packet.encode()).unwrap();
        assert_eq!(pair.status(0).remote_independent, independent);
        pair.advance(SECOND);
        let loss = pair.status(0).last_loss.unwrap();
        assert_eq!(loss.shares_fate, !independent);
    }
}

#[test]
fn a_restarted_end_is_a_loss_and_comes_back() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    pair.ends[1] = Sessions::new(4711);
    pair.configure(1, parameters(300, 3));
    pair.advance(SECOND * 4);
    assert_eq!(pair.states(), [State::Up; 2]);
    assert_eq!(pair.status(0).losses, 1);
}

#[test]
fn another_address_of_ours_is_another_session() {
    let mut pair = Pair::up([parameters(300, 3); 2]);
    let name = pair.status(0).local_discriminator;
    let moved = SessionConfig {
        source: Some([192, 0, 2, 99].into()),
        ..config(0, parameters(300, 3))
    };
    pair.ends[0].apply(vec![moved], pair.now);
    pair.settle();
    assert_ne!(pair.status(0).local_discriminator, name);
    assert_eq!(pair.status(1).losses, 0, "the old one took its leave");
}

#[test]
fn every_step_of_the_state_machine_is_that_of_rfc_5880() {
    use State::{AdminDown, Down, Init, Up};
    // Rows: our state; columns: what the other end says: AdminDown, Down, Init, Up (RFC 5880 §6.8.6).
    let table = [
        (Down, [Down, Init, Up, Down]),
        (Init, [Down, Init, Up, Up]),
        (Up, [Down, Down, Up, Up]),
    ];
    for (from, row) in table {
        for (said, to) in [AdminDown, Down, Init, Up].into_iter().zip(row) {
            let mut pair = Pair::new([parameters(300, 3); 2]);
            pair.carries = [false; 2];
            let say = |pair: &mut Pair, state| {
                let packet = Packet {
                    diagnostic: Diagnostic::NONE,
                    state,
                    poll: false,
                    is_final: false,
                    control_plane_independent: false,
                    demand: false,
                    multiplier: 3,
                    my_discriminator: 5,
                    your_discriminator: pair.status(0).local_discriminator,
                    desired_min_tx: SECOND,
                    required_min_rx: SECOND,
                    required_min_echo_rx: Duration::ZERO,
                };
                pair.inject(0, &packet.encode()).unwrap();
            };
            match from {
                Init => say(&mut pair, Down),
                Up => say(&mut pair, Init),
                Down | AdminDown => {}
            }
            assert_eq!(pair.status(0).state, from);
            say(&mut pair, said);
            assert_eq!(pair.status(0).state, to, "{from} hears {said}");
        }
    }
}
