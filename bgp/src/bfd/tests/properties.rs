use proptest::prelude::*;

use super::*;

fn packets() -> impl Strategy<Value = Packet> {
    let bits = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let words = (1..=u32::MAX, 1..=u32::MAX, any::<[u32; 3]>());
    let state = prop_oneof![
        Just(State::AdminDown),
        Just(State::Down),
        Just(State::Init),
        Just(State::Up)
    ];
    (0u8..32, state, bits, 1u8..=255, words).prop_map(
        |(diagnostic, state, (poll, is_final, independent, demand), multiplier, words)| {
            let (my_discriminator, your_discriminator, intervals) = words;
            let [desired_min_tx, required_min_rx, required_min_echo_rx] =
                intervals.map(|micros| Duration::from_micros(micros.into()));
            Packet {
                diagnostic: Diagnostic(diagnostic),
                state,
                poll,
                is_final,
                control_plane_independent: independent,
                demand,
                multiplier,
                my_discriminator,
                your_discriminator,
                desired_min_tx,
                required_min_rx,
                required_min_echo_rx,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_sent_is_read(packet in packets()) {
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    #[test]
    fn item_116_any_octets_are_read_or_discarded(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        let read = Packet::decode(&octets);
        if let Ok(packet) = read {
            prop_assert_eq!(&packet.encode()[4..], &octets[4..24]);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_a_peer_says_the_session_lives_on(
        said in prop::collection::vec((packets(), any::<bool>(), 0u64..3000), 1..60),
    ) {
        let mut pair = Pair::new([parameters(300, 3); 2]);
        pair.carries = [false; 2];
        for (mut packet, knows, milliseconds) in said {
            if knows {
                packet.your_discriminator = pair.status(0).local_discriminator;
            }
            let _ = pair.inject(0, &packet.encode());
            pair.settle();
            let before = pair.sent.len();
            pair.advance(MILLI * milliseconds as u32);
            // Never faster than configured: 225 ms are the shortest pause.
            let sent = pair.sent[before..].iter().filter(|sent| sent.by == 0).count();
            prop_assert!(sent as u64 <= milliseconds / 225 + 2, "{sent} in {milliseconds} ms");
            prop_assert!(pair.ends[0].poll_timeout().is_none_or(|due| due >= pair.now));
        }
        // And the real other end is heard again.
        pair.carries = [true; 2];
        pair.advance(SECOND * 10);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
    }

    #[test]
    fn two_ends_come_up_whatever_their_timers(
        timers in prop::array::uniform2((50u64..3000, 50u64..3000, 1u8..20)),
        seed in any::<u64>(),
    ) {
        let of = |(tx, rx, multiplier)| Parameters {
            min_tx: Duration::from_millis(tx),
            min_rx: Duration::from_millis(rx),
            ..parameters(0, multiplier)
        };
        let mut pair = Pair::seeded(timers.map(of), seed);
        pair.advance(SECOND * 10);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
        pair.forget();
        pair.advance(SECOND * 20);
        prop_assert!(pair.changes.iter().all(Vec::is_empty), "no false loss");
        for end in 0..2 {
            let agreed = Duration::from_millis(timers[end].0.max(timers[1 - end].1));
            let multiplier = u32::from(timers[end].2);
            prop_assert_eq!(pair.status(1 - end).detection_time, Some(agreed * multiplier));
        }
    }
}
