//! Rows of invoices, sets and payments.

use offset_crypto::{HashedLock, InvoiceId, Nonce, PaymentId};
use offset_funder::state::{
    Attempt, Decision, InvoicePhase, InvoiceRow, Part, PartState, PaymentRow, Phase, SetKey, SetRow,
};
use offset_proto::app::{NoLine, PaymentFailure};
use offset_proto::index::Edge;
use offset_proto::payment::{Invoice, Receipt};
use offset_proto::{Credits, Currency, Text, Timestamp};

use super::Generator;
use crate::tests::key;

impl Generator {
    /// One of a few, so that the same invoice comes in many states.
    pub(super) fn invoice(&mut self) -> InvoiceRow {
        let number = self.byte(4);
        let invoice = Invoice {
            registered: true,
            currency: Currency::fallback(),
            dest_public_key: key(0),
            dest_payment: Credits(u128::MAX - u128::from(number)),
            description: Text::cut("soup; 'quoted' \u{1F35C}"),
            created_at: Timestamp(1),
            expires_at: Timestamp(u64::MAX),
            hold_until: (number == 1).then_some(Timestamp(5)),
            nonce: Nonce::from_bytes([number; 16]),
        };
        let phase = self.pick(&[
            InvoicePhase::Open,
            InvoicePhase::Committed,
            InvoicePhase::Collected,
            InvoicePhase::Cancelled,
            InvoicePhase::Expired,
        ]);
        let accepted = self.maybe(|some| some.fixed().into());
        let clears = self.maybe(|some| PaymentId::from_bytes([some.byte(4); 16]));
        InvoiceRow { invoice, phase, accepted, clears }
    }

    pub(super) fn set_key(&mut self) -> SetKey {
        SetKey {
            invoice_id: InvoiceId::from_bytes([self.byte(2); 32]),
            src_hashed_lock: HashedLock::from_bytes([self.byte(3); 32]),
        }
    }

    pub(super) fn set(&mut self) -> SetRow {
        SetRow {
            currency: self.currency(),
            total: self.credits(),
            spontaneous: self.coin(),
            since: self.time(),
            parts: self.list(|some| (key(some.byte(9)), some.id())),
            src_plain_lock: self.maybe(|some| some.fixed().into()),
            accepted: self.coin(),
            held: self.coin(),
            rebuilt: self.coin(),
            arrived: self.coin(),
        }
    }

    pub(super) fn payment(&mut self) -> PaymentRow {
        PaymentRow {
            app: self.maybe(|some| key(some.byte(9))),
            contents: self.fixed().into(),
            invoice_id: self.fixed().into(),
            clearing: self.coin(),
            spontaneous: self.coin(),
            destination: key(self.byte(9)),
            currency: self.currency(),
            amount: self.credits(),
            expires_at: self.maybe(Self::time),
            max_fee: self.maybe(Self::credits),
            created_at: self.time(),
            deadline: self.time(),
            note: Text::cut("a note"),
            max_parts: self.byte(9),
            hold_seconds: u64::from(self.byte(9)),
            by_commit: self.coin(),
            exclude: self.list(|some| Edge { from: key(some.byte(9)), to: key(some.byte(9)) }),
            searching_since: self.time(),
            attempts: self.list(|some| Attempt {
                src_plain_lock: some.fixed().into(),
                decision: some.pick(&[Decision::Open, Decision::Committed, Decision::Released]),
                parts: some.list(Self::part),
            }),
            last_failure: self.maybe(Self::failure),
            phase: self.phase(),
        }
    }

    pub(super) fn part(&mut self) -> Part {
        Part {
            route: self.list(|some| key(some.byte(9))),
            request_id: self.id(),
            amount: self.credits(),
            fee: self.credits(),
            since: self.time(),
            response: self.maybe(|some| Box::new(some.response())),
            state: self.pick(&[
                PartState::Requested,
                PartState::Responded,
                PartState::Cancelled,
                PartState::Collected,
                PartState::Lost,
            ]),
        }
    }

    pub(super) fn phase(&mut self) -> Phase {
        let receipt = Box::new(Receipt {
            response_hash: self.fixed().into(),
            invoice_id: self.fixed().into(),
            currency: self.currency(),
            src_plain_lock: self.fixed().into(),
            dest_plain_lock: self.fixed().into(),
            is_complete: self.coin(),
            dest_payment: self.credits(),
            total_dest_payment: self.credits(),
            signature: self.signature(),
        });
        let phases = [
            Phase::Routing,
            Phase::Requesting,
            Phase::Complete,
            Phase::Committed,
            Phase::Succeeded { receipt, fee: self.credits() },
            Phase::Failed(self.failure()),
            Phase::Cancelled,
            Phase::Unknown,
        ];
        self.pick(&phases)
    }

    pub(super) fn failure(&mut self) -> PaymentFailure {
        let failures = [
            PaymentFailure::NoRoom { available: self.credits() },
            PaymentFailure::NoLine(NoLine::Unknown),
            PaymentFailure::NoLine(NoLine::Proposed),
            PaymentFailure::NoLine(NoLine::RemovedByFriend),
            PaymentFailure::NoLine(NoLine::Removing),
            PaymentFailure::NoLine(NoLine::Inconsistent),
            PaymentFailure::NoLine(NoLine::Quarantined),
            PaymentFailure::NoLine(NoLine::Disabled),
            PaymentFailure::NoLine(NoLine::Offline),
            PaymentFailure::NoLine(NoLine::Closed),
            PaymentFailure::NoIndexServer,
            PaymentFailure::NoRoute,
            PaymentFailure::FeeTooHigh { fee: self.credits() },
            PaymentFailure::Refused {
                reason: self.reason(),
                reporter: self.maybe(|some| key(some.byte(9))),
            },
            PaymentFailure::Deadline,
            PaymentFailure::Expired,
            PaymentFailure::NoCapacity { available: self.credits() },
            PaymentFailure::TakenBack,
            PaymentFailure::NoAnswer { friend: key(self.byte(9)) },
        ];
        self.pick(&failures)
    }
}
