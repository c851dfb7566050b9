//! Arbitrary messages: every variant, every field, lists up to a few elements. One file a subject; all of them use the
//! imports here.

mod app;
mod friend;
mod history;
mod index;
mod payment;
mod relay;
mod reply;
mod report;
mod session;
mod values;

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, Nonce, PaymentId, PlainLock, PublicKey, RequestId, Signature,
};
use offset_proto::{
    Balance, Credits, Currency, Name, NetworkAddress, Rate, ServerAddress, Text, Timestamp,
    app::*,
    friend::*,
    history::{
        Adjustment, Direction, HistoryEntry, HistoryEvent, HistoryPage, HistoryQuery, PendingEntry,
        PendingKey, PendingPage, PendingStage, Turn,
    },
    index::*,
    payment::{Invoice, Receipt},
    proof::*,
    relay::*,
    report::*,
    reset::*,
    session::{Bye, Control, Hello, Packet, Purpose},
    token::*,
};
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::select,
};

pub(crate) use self::{
    app::*, friend::*, index::*, payment::*, relay::*, reply::*, session::*, values::*,
};
use self::{history::*, report::*};
