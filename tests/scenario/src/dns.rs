//! Just enough of DNS (RFC 1035) to ask CoreDNS and read addresses.

use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;
const HEADER: usize = 12;
const RECURSION_DESIRED: u16 = 0x100;
/// Of the two bytes of a compressed name.
const POINTER: u8 = 0xc0;

/// A question for the addresses of one family.
pub(crate) fn question(id: u16, name: &str, v4: bool) -> Vec<u8> {
    let mut message = Vec::new();
    for field in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        message.extend(u8::try_from(label.len()));
        message.extend(label.as_bytes());
    }
    message.push(0);
    for field in [if v4 { A } else { AAAA }, INTERNET] {
        message.extend(field.to_be_bytes());
    }
    message
}

/// The question's number and the addresses of an answer.
///
/// # Errors
/// If it is no answer, or one that says that there is no such name.
pub(crate) fn answer(message: &[u8]) -> Result<(u16, Vec<IpAddr>)> {
    let field = |at: usize| -> Result<u16> {
        let bytes = message.get(at..at + 2).context("the answer ends early")?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let (id, flags, count) = (field(0)?, field(2)?, field(6)?);
    ensure!(flags & 0x8000 != 0, "this is no answer");
    ensure!(flags & 0xf == 0, "the server answered code {}", flags & 0xf);
    let mut at = after_name(message, HEADER)? + 4;
    let mut addresses = Vec::new();
    for _ in 0..count {
        at = after_name(message, at)?;
        let (kind, length) = (field(at)?, usize::from(field(at + 8)?));
        let data = message.get(at + 10..at + 10 + length);
        let data = data.context("a record ends early")?;
        match kind {
            A => addresses.push(Ipv4Addr::from(<[u8; 4]>::try_from(data)?).into()),
            AAAA => addresses.push(Ipv6Addr::from(<[u8; 16]>::try_from(data)?).into()),
            _ => {}
        }
        at += 10 + length;
    }
    Ok((id, addresses))
}

/// Where the name that begins here ends.
fn after_name(message: &[u8], mut at: usize) -> Result<usize> {
    loop {
        let length = *message.get(at).context("a name ends early")?;
        match length {
            0 => return Ok(at + 1),
            pointer if pointer & POINTER == POINTER => return Ok(at + 2),
            label => at += 1 + usize::from(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_server_answers() {
        let mut message = question(7, "c.demo.svc.cluster.local", true);
        message[2] = 0x85;
        message[7] = 2;
        for last in [1, 2] {
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 244, 0, last]);
        }
        let (id, addresses) = answer(&message).unwrap();
        assert_eq!(id, 7);
        assert_eq!(
            addresses,
            [[10, 244, 0, 1], [10, 244, 0, 2]].map(IpAddr::from)
        );
    }

    #[test]
    fn a_refusal_and_a_cut_message_are_errors() {
        let mut message = question(7, "nobody.", false);
        assert!(answer(&message).is_err(), "a question is no answer");
        message[2] = 0x85;
        message[3] = 3;
        let error = answer(&message).unwrap_err();
        assert_eq!(error.to_string(), "the server answered code 3");
        message[3] = 0;
        message[7] = 1;
        assert!(answer(&message).is_err(), "a record is announced");
    }
}
