//! The properties of `make fuzz` on random octets, and on every input that once broke one of them.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "the library of the fuzz targets")]
mod properties;

use proptest::prelude::*;

type Property = fn(&[u8]);

/// Inputs that fuzzing found, as (property, octets).
const FOUND: &[(Property, &[u8])] = &[];

#[test]
fn what_fuzzing_found_stays_mended() {
    FOUND.iter().for_each(|(property, data)| property(data));
}

proptest! {
    #[test]
    fn framer(data in prop::collection::vec(any::<u8>(), 0..300)) {
        properties::framer(&data);
    }

    #[test]
    fn open(parameters in prop::collection::vec(any::<u8>(), 0..100)) {
        let head = [4, 0xfd, 0xea, 0, 90, 192, 0, 2, 2, parameters.len() as u8];
        properties::open(&[&head, &parameters[..]].concat());
        properties::open(&parameters);
    }

    #[test]
    fn update(bits in any::<u8>(), attributes in prop::collection::vec(attribute(), 0..6), nlri in prop::collection::vec(any::<u8>(), 0..12)) {
        let attributes = attributes.concat();
        let [high, low] = (attributes.len() as u16).to_be_bytes();
        properties::update(&[&[bits, 0, 0, high, low], &attributes[..], &nlri].concat());
    }

    #[test]
    fn speaker(bits in any::<u8>(), messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
        let mut data = vec![bits];
        for (kind, body) in messages {
            data.extend([kind % 7, 0, body.len() as u8]);
            data.extend(body);
        }
        properties::speaker(&data);
    }
}

/// An attribute with a length that is right.
fn attribute() -> impl Strategy<Value = Vec<u8>> {
    (
        any::<u8>(),
        0u8..40,
        prop::collection::vec(any::<u8>(), 0..24),
    )
        .prop_map(|(flags, kind, value)| {
            [&[flags & 0xe0, kind, value.len() as u8], &value[..]].concat()
        })
}
