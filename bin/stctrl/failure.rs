//! Why a payment failed, in the words of the one who pays: friends by the user's names.

use offset_crypto::PublicKey;
use offset_proto::{
    app::{PaymentFailure, PaymentReport},
    friend::CancelReason,
    report::{FriendRecovery, FriendReport},
};

use super::Session;
use crate::manners::amount;

/// As [`sentence`], with the friends that the node has.
pub(super) async fn explain(
    session: &Session,
    report: &PaymentReport,
    failure: &PaymentFailure,
    decimals: u8,
) -> String {
    // Without them the friends have no names, which is no reason to say less.
    let friends = session.report().await.map(|node| node.friends).unwrap_or_default();
    sentence(failure, &report.destination, &friends, decimals)
}

/// The cause and the next step; amounts in a currency with so many digits behind the point.
pub(super) fn sentence(
    failure: &PaymentFailure,
    destination: &PublicKey,
    friends: &[FriendReport],
    decimals: u8,
) -> String {
    match failure {
        PaymentFailure::NoRoom { available } => format!(
            "your own lines have no room for this payment: {} could be sent at most; pay less, or \
             ask a friend for a higher limit (`stctrl info friends` shows them)",
            amount::show(available, decimals)
        ),
        PaymentFailure::NoCapacity { available } => format!(
            "the ways to the receiver carry {} now, but not this much: pay less, or ask the receiver to let \
             its friends send it more",
            amount::show(available, decimals)
        ),
        PaymentFailure::NoIndexServer => format!(
            "{failure}; look at `stctrl info index`, or add one with `stctrl config add-index`"
        ),
        PaymentFailure::NoRoute => {
            format!("{failure}; ask the receiver whether its node runs and has open friends")
        }
        PaymentFailure::FeeTooHigh { fee } => format!(
            "the cheapest route costs {}, more than the fee limit; allow it with --max-fee",
            amount::show(fee, decimals)
        ),
        PaymentFailure::Refused { reason, reporter } => {
            let who = match reporter {
                Some(key) if key == destination => "the receiver".to_owned(),
                Some(key) => name(key, friends),
                None => "a node on the way".to_owned(),
            };
            format!("{who} {reason}; {}", next_step(*reason))
        }
        PaymentFailure::NoAnswer { friend } => format!(
            "what went out over {} was not answered in time and was taken back; it stays frozen \
             there until that side answers, and no other way was found: try again later",
            name(friend, friends)
        ),
        PaymentFailure::Deadline => format!("{failure}; try again with a longer --deadline"),
        PaymentFailure::Expired => format!("{failure}; ask the seller for a new one"),
        PaymentFailure::TakenBack => format!("{failure}; order it again if you still want to pay"),
        PaymentFailure::FriendsOffline => match friends.iter().find(|it| is_quarantined(it)) {
            Some(FriendReport { name, .. }) => format!(
                "{failure}: {name} proves that this node lost state, so nothing is signed for it; \
                 look at it with `stctrl info friends -n {name}`, then accept it with \
                 `stctrl config recover-friend -n {name}`"
            ),
            None => failure.to_string(),
        },
    }
}

/// Whether nothing moves with a friend until the owner accepts what it proves.
const fn is_quarantined(friend: &FriendReport) -> bool {
    match friend.recovery {
        FriendRecovery::Proven { .. } => true,
        FriendRecovery::None | FriendRecovery::Waiting => false,
    }
}

/// The cause alone, in the words of the protocol; amounts in a currency with so many digits behind
/// the point.
pub(super) fn cause(failure: &PaymentFailure, decimals: u8) -> String {
    match failure {
        PaymentFailure::NoRoom { available } => format!(
            "your own lines have no room for this payment: {} could be sent at most",
            amount::show(available, decimals)
        ),
        PaymentFailure::NoCapacity { available } => {
            let most = amount::show(available, decimals);
            format!("the ways to the receiver carry {most} now, but not this much")
        }
        PaymentFailure::FeeTooHigh { fee } => format!(
            "the cheapest route costs {}, more than the fee limit",
            amount::show(fee, decimals)
        ),
        PaymentFailure::FriendsOffline
        | PaymentFailure::NoIndexServer
        | PaymentFailure::NoRoute
        | PaymentFailure::Refused { .. }
        | PaymentFailure::NoAnswer { .. }
        | PaymentFailure::TakenBack
        | PaymentFailure::Deadline
        | PaymentFailure::Expired => failure.to_string(),
    }
}

/// A friend by its name, anybody else by the beginning of the key.
fn name(key: &PublicKey, friends: &[FriendReport]) -> String {
    match friends.iter().find(|friend| friend.public_key == *key) {
        Some(friend) => format!("friend {}", friend.name),
        None => format!("node {key:?}"),
    }
}

const fn next_step(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::NoRoute | CancelReason::NoRoom | CancelReason::Offline => {
            "pay less, or try again later"
        }
        CancelReason::FeeTooLow => "try again: fees have just changed",
        CancelReason::UnknownInvoice => "ask the seller for a new invoice",
        CancelReason::Expired => "ask the seller for a new one",
        CancelReason::AlreadyPaid => "ask the seller before you pay once more",
        CancelReason::Busy => "try again in a moment",
        CancelReason::Declined => "ask its owner why, or pay over others",
        CancelReason::Released => "try again",
    }
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};
    use offset_proto::{Credits, report::FriendStanding};

    use super::*;

    fn key(n: u64) -> PublicKey {
        Identity::random(&mut SeededRng::new(n)).public_key()
    }

    fn friend(n: u64) -> FriendReport {
        FriendReport {
            name: "alice".parse().unwrap(),
            public_key: key(n),
            enabled: true,
            online: true,
            relays: Vec::new(),
            last_error: "".parse().unwrap(),
            currencies: Vec::new(),
            standing: FriendStanding::Consistent,
            recovery: FriendRecovery::None,
        }
    }

    #[test]
    fn whoever_refused_is_named_as_the_user_names_it() {
        let friends = [friend(2)];
        let refused = |by: Option<u64>| PaymentFailure::Refused {
            reason: CancelReason::NoRoom,
            reporter: by.map(key),
        };
        let short = format!("node {:?} has no room", key(3));
        for (failure, begins) in [
            (refused(Some(1)), "the receiver has no room"),
            (refused(Some(2)), "friend alice has no room"),
            (refused(Some(3)), short.as_str()),
            (refused(None), "a node on the way has no room"),
            (PaymentFailure::NoAnswer { friend: key(2) }, "what went out over friend alice "),
        ] {
            let text = sentence(&failure, &key(1), &friends, 0);
            assert!(text.starts_with(begins), "{text}");
        }
    }

    #[test]
    fn a_friend_in_quarantine_is_named() {
        let recovery = FriendRecovery::Proven { token: [1; 32].into(), currencies: Vec::new() };
        let friends = [FriendReport { recovery, online: false, ..friend(2) }];
        let text = sentence(&PaymentFailure::FriendsOffline, &key(1), &friends, 0);
        assert!(text.contains("alice proves that this node lost state"), "{text}");
        assert!(text.contains("recover-friend -n alice"), "{text}");
    }

    #[test]
    fn amounts_have_the_point_of_their_currency() {
        for failure in [
            PaymentFailure::NoRoom { available: Credits(1_234) },
            PaymentFailure::NoCapacity { available: Credits(1_234) },
            PaymentFailure::FeeTooHigh { fee: Credits(1_234) },
        ] {
            let text = sentence(&failure, &key(1), &[], 2);
            assert!(text.contains(" 12.34"), "{text}");
            assert!(cause(&failure, 2).contains(" 12.34"), "{text}");
            assert!(cause(&failure, 0).contains("1234"), "{text}");
        }
    }

    #[test]
    fn every_failure_names_a_cause_and_a_next_step() {
        let mut failures = vec![
            PaymentFailure::NoRoom { available: Credits(5) },
            PaymentFailure::NoCapacity { available: Credits(5) },
            PaymentFailure::FriendsOffline,
            PaymentFailure::NoIndexServer,
            PaymentFailure::NoRoute,
            PaymentFailure::FeeTooHigh { fee: Credits(5) },
            PaymentFailure::NoAnswer { friend: key(2) },
            PaymentFailure::Deadline,
            PaymentFailure::Expired,
            PaymentFailure::TakenBack,
        ];
        let reasons = [
            CancelReason::NoRoute,
            CancelReason::NoRoom,
            CancelReason::FeeTooLow,
            CancelReason::Offline,
            CancelReason::UnknownInvoice,
            CancelReason::Expired,
            CancelReason::AlreadyPaid,
            CancelReason::Busy,
            CancelReason::Declined,
            CancelReason::Released,
        ];
        for (at, reason) in reasons.into_iter().enumerate() {
            assert_eq!(number_of_reason(reason), at, "the table names each reason once");
            for reporter in [None, Some(key(1)), Some(key(2)), Some(key(3))] {
                failures.push(PaymentFailure::Refused { reason, reporter });
            }
        }
        let mut kinds = [false; 11];
        for failure in failures {
            kinds[number_of_failure(&failure)] = true;
            let text = sentence(&failure, &key(1), &[friend(2)], 0);
            let (cause, next) = text.split_once([';', ':']).expect("a cause and a next step");
            assert!(!cause.trim().is_empty() && !next.trim().is_empty(), "{text}");
            let debug = format!("{failure:?}");
            let variant = debug.split([' ', '{']).next().unwrap_or_default();
            for word in [variant, "Some(", "None", "Credits(", "reporter", "Refused"] {
                assert!(!text.contains(word), "{word:?} in {text}");
            }
        }
        assert_eq!(kinds, [true; 11], "the table names each failure");
    }

    /// A place for each failure: whoever adds one is sent to the table by the compiler.
    const fn number_of_failure(failure: &PaymentFailure) -> usize {
        match failure {
            PaymentFailure::NoRoom { .. } => 0,
            PaymentFailure::NoCapacity { .. } => 1,
            PaymentFailure::FriendsOffline => 2,
            PaymentFailure::NoIndexServer => 3,
            PaymentFailure::NoRoute => 4,
            PaymentFailure::FeeTooHigh { .. } => 5,
            PaymentFailure::NoAnswer { .. } => 6,
            PaymentFailure::Deadline => 7,
            PaymentFailure::Expired => 8,
            PaymentFailure::TakenBack => 9,
            PaymentFailure::Refused { .. } => 10,
        }
    }

    const fn number_of_reason(reason: CancelReason) -> usize {
        match reason {
            CancelReason::NoRoute => 0,
            CancelReason::NoRoom => 1,
            CancelReason::FeeTooLow => 2,
            CancelReason::Offline => 3,
            CancelReason::UnknownInvoice => 4,
            CancelReason::Expired => 5,
            CancelReason::AlreadyPaid => 6,
            CancelReason::Busy => 7,
            CancelReason::Declined => 8,
            CancelReason::Released => 9,
        }
    }
}
