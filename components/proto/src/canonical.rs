//! Canonical bytes: the one form of a thing that is signed or hashed (protocol, section 0).
//!
//! Fixed-width integers big-endian; fixed-size byte strings as they are; text and variable byte
//! strings with a 4-byte count in front, lists likewise; options with one byte 0 or 1 in front;
//! booleans one byte; unions one tag byte as numbered in the schema, then the fields.

use offset_crypto::{HashResult, Identity, Label, LabelHasher, PublicKey, Signature};

use crate::{
    ServerAddress,
    friend::{
        CancelReason, CurrencyTerms, FriendOp, MoveToken, MoveTokenBody, Proposal, Request,
        Response,
    },
    index::{
        IndexLine, IndexTable, NodeDown, SignedUpdate, UpdateBody, UpdateKind, UpdateMutation,
    },
};

/// Collects canonical bytes.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Sixteen bytes, two's complement.
    pub fn i128(&mut self, value: i128) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// One byte.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// Bytes of a fixed size, as they are.
    pub fn fixed(&mut self, bytes: &impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// A count in front.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// A count, then each element.
    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.count(items.len());
        for item in items {
            write(self, item);
        }
        self
    }

    /// A byte 0 or 1, then the value.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("messages are far below 4 GiB"));
    }
}

/// A thing with canonical bytes.
pub trait Canonical {
    /// Appends the canonical bytes.
    fn write(&self, out: &mut Writer);

    /// The canonical bytes.
    fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.into_bytes()
    }
}

impl Canonical for ServerAddress {
    fn write(&self, out: &mut Writer) {
        out.fixed(&self.public_key).text(self.address.as_str());
    }
}

impl Canonical for Proposal {
    fn write(&self, out: &mut Writer) {
        out.i128(self.opening_balance.get()).u128(self.max_debt.0).bool(self.requests_open);
    }
}

impl Canonical for CurrencyTerms {
    fn write(&self, out: &mut Writer) {
        out.text(self.currency.as_str()).bool(self.enabled);
        self.proposal.write(out);
    }
}

impl Canonical for Request {
    fn write(&self, out: &mut Writer) {
        out.fixed(&self.request_id)
            .fixed(&self.src_hashed_lock)
            .list(&self.route, |out, key| {
                out.fixed(key);
            })
            .u128(self.dest_payment.0)
            .u128(self.total_dest_payment.0)
            .fixed(&self.invoice_id)
            .u128(self.left_fees.0)
            .bool(self.spontaneous)
            .u64(self.hold_seconds);
    }
}

impl Canonical for Response {
    fn write(&self, out: &mut Writer) {
        out.fixed(&self.request_id)
            .fixed(&self.dest_hashed_lock)
            .bool(self.is_complete)
            .fixed(&self.response_hash)
            .fixed(&self.signature);
    }
}

impl CancelReason {
    /// The number in the schema.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::NoRoute => 0,
            Self::NoRoom => 1,
            Self::FeeTooLow => 2,
            Self::Offline => 3,
            Self::UnknownInvoice => 4,
            Self::Expired => 5,
            Self::AlreadyPaid => 6,
            Self::Busy => 7,
            Self::Declined => 8,
            Self::Released => 9,
        }
    }
}

impl Canonical for FriendOp {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Request(op) => {
                out.u8(0);
                op.write(out);
            }
            Self::Response(op) => {
                out.u8(1);
                op.write(out);
            }
            Self::Commit(op) => {
                out.u8(2).fixed(&op.request_id).fixed(&op.src_plain_lock);
            }
            Self::Collect(op) => {
                out.u8(3)
                    .fixed(&op.request_id)
                    .fixed(&op.src_plain_lock)
                    .fixed(&op.dest_plain_lock);
            }
            Self::Cancel(op) => {
                out.u8(4).fixed(&op.request_id).u8(op.reason.number()).option(
                    op.reporter,
                    |out, key| {
                        out.fixed(&key);
                    },
                );
            }
            Self::Release(op) => {
                out.u8(5).fixed(&op.request_id);
            }
        }
    }
}

impl Canonical for MoveTokenBody {
    fn write(&self, out: &mut Writer) {
        out.u64(self.epoch)
            .u64(self.counter)
            .fixed(&self.prev_token)
            .list(&self.currency_terms, |out, terms| terms.write(out))
            .list(&self.currency_ops, |out, ops| {
                out.text(ops.currency.as_str()).list(&ops.ops, |out, op| op.write(out));
            })
            .option(self.relays.as_deref(), |out, relays| {
                out.list(relays, |out, relay| relay.write(out));
            })
            .fixed(&self.state_hash);
    }
}

impl MoveTokenBody {
    /// Signs the body.
    #[must_use]
    pub fn sign(self, identity: &Identity) -> MoveToken {
        let canonical = self.canonical_bytes();
        let signature = identity.sign_labelled(Label::MOVE_TOKEN_SIGNATURE, &canonical);
        MoveToken { body: self, signature }
    }
}

impl MoveToken {
    /// `hash(MOVE_TOKEN, canonical bytes of all fields, signature included)`.
    #[must_use]
    pub fn id(&self) -> HashResult {
        LabelHasher::new(Label::MOVE_TOKEN)
            .chain(self.body.canonical_bytes())
            .chain(self.signature)
            .finish()
    }

    /// Whether the signature is that of `signer`; gives the id when it is. One pass over the body.
    #[must_use]
    pub fn verify(&self, signer: &PublicKey) -> Option<HashResult> {
        let canonical = self.body.canonical_bytes();
        signer.verify_labelled(Label::MOVE_TOKEN_SIGNATURE, &canonical, &self.signature).then(
            || LabelHasher::new(Label::MOVE_TOKEN).chain(&canonical).chain(self.signature).finish(),
        )
    }
}

impl Canonical for UpdateBody {
    fn write(&self, out: &mut Writer) {
        out.fixed(&self.node)
            .fixed(&self.home_server)
            .u64(self.epoch)
            .u64(self.counter)
            .u64(self.time.0);
        match &self.kind {
            UpdateKind::Snapshot(mutations) => {
                out.u8(0).list(mutations, |out, mutation| mutation.write(out));
            }
            UpdateKind::Delta(mutations) => {
                out.u8(1).list(mutations, |out, mutation| mutation.write(out));
            }
            UpdateKind::Alive { table } => {
                out.u8(2).fixed(table);
            }
        }
    }
}

impl Canonical for IndexLine {
    fn write(&self, out: &mut Writer) {
        out.u128(self.send_capacity.0)
            .u128(self.recv_capacity.0)
            .u32(self.rate.ppm)
            .u64(self.rate.add);
    }
}

impl Canonical for UpdateMutation {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Set { friend, currency, line } => {
                out.u8(0).fixed(friend).text(currency.as_str());
                line.write(out);
            }
            Self::Remove { friend, currency } => {
                out.u8(1).fixed(friend).text(currency.as_str());
            }
        }
    }
}

/// `hash(INDEX_TABLE, list of (friend, currency, line))`, sorted by friend and then by currency: what
/// a node's `alive` update names, so that its index server sees whether it knows the same lines.
#[must_use]
pub fn index_table_hash(table: &IndexTable) -> HashResult {
    let mut out = Writer::default();
    out.count(table.len());
    for ((friend, currency), line) in table {
        out.fixed(friend).text(currency.as_str());
        line.write(&mut out);
    }
    Label::INDEX_TABLE.hash(&out.into_bytes())
}

impl UpdateBody {
    /// Signs the update with the node's identity.
    #[must_use]
    pub fn sign(self, identity: &Identity) -> SignedUpdate {
        let signature = identity.sign_labelled(Label::INDEX_UPDATE, &self.canonical_bytes());
        SignedUpdate { body: self, signature }
    }
}

impl SignedUpdate {
    /// Whether the node that the update is about signed it.
    #[must_use]
    pub fn verify(&self) -> bool {
        let canonical = self.body.canonical_bytes();
        self.body.node.verify_labelled(Label::INDEX_UPDATE, &canonical, &self.signature)
    }
}

impl NodeDown {
    /// Signed by the home server.
    #[must_use]
    pub fn sign(node: PublicKey, epoch: u64, counter: u64, server: &Identity) -> Self {
        let signature = server.sign_labelled(Label::NODE_DOWN, &down_bytes(node, epoch, counter));
        Self { node, epoch, counter, signature }
    }

    /// Whether `server` said so.
    #[must_use]
    pub fn verify(&self, server: &PublicKey) -> bool {
        let bytes = down_bytes(self.node, self.epoch, self.counter);
        server.verify_labelled(Label::NODE_DOWN, &bytes, &self.signature)
    }

    /// The signed bytes and the signature, for whoever wants to hash the message.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn down_bytes(node: PublicKey, epoch: u64, counter: u64) -> Vec<u8> {
    let mut out = Writer::default();
    out.fixed(&node).u64(epoch).u64(counter);
    out.into_bytes()
}
