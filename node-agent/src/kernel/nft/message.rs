//! Writing nfnetlink messages: headers, attributes, and the transaction they form.
//!
//! Every integer inside nf_tables attributes is in network byte order; only the two headers are in the host's.

use super::error::Subject;

/// `NFNL_SUBSYS_NFTABLES` in the upper half of a message's type.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: the family of our table.
pub(super) const INET: u8 = 1;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `struct nfgenmsg`, between the header and the attributes.
pub(super) const FAMILY_HEADER: usize = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// `NLM_F_REQUEST`, in every message.
const REQUEST: u16 = 1;
/// `NLM_F_ACK`: answer also when all is well.
pub(super) const ACK: u16 = 4;
/// `NLM_F_CREATE`: without it `NFT_MSG_NEW*` is refused.
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_EXCL`: refuse what exists, so that a kernel that differs from our mirror is noticed.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_APPEND`: behind the rules that are there.
pub(super) const APPEND: u16 = 0x800;
/// `NLM_F_DUMP`.
pub(super) const DUMP: u16 = 0x300;

/// Kind of an nf_tables message (`enum nf_tables_msg_types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    GetSet = 10,
    DelSet = 11,
    NewSetElem = 12,
    GetSetElem = 13,
    DelSetElem = 14,
}

impl Kind {
    fn number(self) -> u16 {
        SUBSYSTEM << 8 | self as u16
    }
}

/// One request outside a transaction: a dump, or a question about one object.
pub(super) fn request(
    kind: Kind,
    flags: u16,
    sequence: u32,
    body: impl FnOnce(&mut Attributes<'_>),
) -> Vec<u8> {
    request_of(INET, kind, flags, sequence, body)
}

/// The same for a family; 0 is all of them.
pub(super) fn request_of(
    family: u8,
    kind: Kind,
    flags: u16,
    sequence: u32,
    body: impl FnOnce(&mut Attributes<'_>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_message(
        &mut bytes,
        kind.number(),
        flags,
        sequence,
        (family, 0),
        body,
    );
    bytes
}

/// Messages that the kernel applies all or none, in one send.
#[derive(Debug)]
pub(super) struct Transaction {
    bytes: Vec<u8>,
    first_sequence: u32,
    sent: Vec<Sent>,
}

/// Where a message begins, and what an error in it is about.
#[derive(Debug)]
struct Sent {
    start: usize,
    subject: Subject,
}

impl Transaction {
    /// An empty one whose first message has this sequence number.
    pub(super) fn new(first_sequence: u32) -> Self {
        let mut transaction = Self {
            bytes: Vec::with_capacity(4096),
            first_sequence,
            sent: Vec::new(),
        };
        transaction.put(BATCH_BEGIN, 0, (0, SUBSYSTEM), Subject::Transaction, |_| {});
        transaction
    }

    /// Adds a message.
    pub(super) fn message(
        &mut self,
        kind: Kind,
        flags: u16,
        subject: Subject,
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.put(kind.number(), flags, (INET, 0), subject, body);
    }

    /// Whether it would do nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.len() == 1
    }

    /// The bytes to send. The last message before the end is to be acknowledged: silence would not be told from loss.
    pub(super) fn finish(mut self) -> Finished {
        if let Some(last) = self.sent.last() {
            let at = last.start + 6;
            let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | ACK;
            self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        }
        let acknowledged = self.next_sequence().wrapping_sub(1);
        self.put(BATCH_END, 0, (0, SUBSYSTEM), Subject::Transaction, |_| {});
        Finished {
            acknowledged,
            transaction: self,
        }
    }

    fn put(
        &mut self,
        kind: u16,
        flags: u16,
        header: (u8, u16),
        subject: Subject,
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        let (start, sequence) = (self.bytes.len(), self.next_sequence());
        put_message(&mut self.bytes, kind, flags, sequence, header, body);
        self.sent.push(Sent { start, subject });
    }

    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
    fn next_sequence(&self) -> u32 {
        self.first_sequence.wrapping_add(self.sent.len() as u32)
    }
}

/// A transaction that is ready to send.
#[derive(Debug)]
pub(super) struct Finished {
    transaction: Transaction,
    /// Sequence number whose acknowledgement means that all is applied.
    pub(super) acknowledged: u32,
}

impl Finished {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.transaction.bytes
    }

    /// The number that the next transaction may begin with.
    pub(super) fn next_sequence(&self) -> u32 {
        self.transaction.next_sequence()
    }

    /// What the message of this sequence number is about, and the bytes from `offset` in it to the end of the
    /// transaction; none when it is not one of ours.
    pub(super) fn subject(&self, sequence: u32, offset: usize) -> Option<(&Subject, &[u8])> {
        let index = sequence.wrapping_sub(self.transaction.first_sequence) as usize;
        let sent = self.transaction.sent.get(index)?;
        Some((
            &sent.subject,
            self.bytes().get(sent.start + offset..).unwrap_or_default(),
        ))
    }
}

fn put_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    (family, resource): (u8, u16),
    body: impl FnOnce(&mut Attributes<'_>),
) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    // The port of the sender: the kernel fills it in from the socket.
    bytes.extend_from_slice(&[0; 4]);
    // struct nfgenmsg { family, version 0, resource id in network order }
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    body(&mut Attributes(bytes));
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Writes attributes to the end of a message.
pub(super) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// Raw bytes.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.open(kind, |inside| inside.0.extend_from_slice(value));
    }

    /// A text with its terminating zero.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.open(kind, |inside| {
            inside.0.extend_from_slice(value.as_bytes());
            inside.0.push(0);
        });
    }

    /// A number.
    pub(super) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A number that may be negative.
    pub(super) fn i32(&mut self, kind: u16, value: i32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute made of attributes.
    pub(super) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Attributes<'_>)) {
        self.open(kind | NESTED, inside);
    }

    /// Bytes of the transaction so far.
    pub(super) fn position(&self) -> usize {
        self.0.len()
    }

    fn open(&mut self, kind: u16, inside: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        inside(&mut Attributes(self.0));
        // The kernel refuses what claims to be longer than its message, so an overlong attribute can never be misread.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_framed_and_its_last_message_acknowledged() {
        let mut transaction = Transaction::new(7);
        transaction.message(Kind::NewTable, CREATE, Subject::Table, |a| {
            a.text(1, "margay");
            a.nest(2, |a| a.u32(1, 6));
        });
        let finished = transaction.finish();
        assert_eq!(finished.acknowledged, 8);
        assert_eq!(finished.next_sequence(), 10);
        let (begin, rest) = finished.bytes().split_at(20);
        assert_eq!(
            begin,
            [
                20, 0, 0, 0, 16, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10
            ]
        );
        let (table, end) = rest.split_at(44);
        assert_eq!(
            table[..20],
            [44, 0, 0, 0, 0, 10, 5, 4, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
        );
        assert_eq!(table[20..32], *b"\x0b\0\x01\0margay\0\0");
        assert_eq!(table[32..], [12, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 6]);
        assert_eq!(end[..12], [20, 0, 0, 0, 17, 0, 1, 0, 9, 0, 0, 0]);
        assert_eq!(
            finished
                .subject(8, 20)
                .map(|(subject, bytes)| (subject.clone(), bytes[4])),
            Some((Subject::Table, b'm'))
        );
        assert_eq!(finished.subject(10, 0), None);
        assert_eq!(finished.subject(6, 0), None);
    }
}
