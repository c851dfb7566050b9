//! Arbitrary messages: every variant, every field, lists up to a few elements.

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
};
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::select,
};

pub(crate) fn packet<M: std::fmt::Debug + Clone + 'static>(
    message: impl Strategy<Value = M> + 'static,
) -> BoxedStrategy<Packet<M>> {
    prop_oneof![
        1 => control().prop_map(Packet::Control),
        9 => message.prop_map(Packet::Message),
    ]
    .boxed()
}

fn control() -> BoxedStrategy<Control> {
    let hello = (any::<u32>(), select(&Purpose::ALL[..]), btree_set(text(), 0..5)).prop_map(
        |(protocol_version, purpose, features)| {
            let features = features.into_iter().collect();
            Control::Hello(Hello { protocol_version, purpose, features })
        },
    );
    let bye = text().prop_map(|reason| Control::Bye(Bye { reason }));
    prop_oneof![hello, Just(Control::Ping), bye].boxed()
}

pub(crate) fn client_to_relay() -> BoxedStrategy<ClientToRelay> {
    prop_oneof![
        Just(ClientToRelay::Listen),
        Just(ClientToRelay::StopListening),
        (circuit(), key())
            .prop_map(|(circuit, destination)| ClientToRelay::Connect { circuit, destination }),
        circuit().prop_map(|circuit| ClientToRelay::Accept { circuit }),
        circuit().prop_map(|circuit| ClientToRelay::Reject { circuit }),
        (circuit(), vec(any::<u8>(), 0..3_000))
            .prop_map(|(circuit, bytes)| ClientToRelay::Data { circuit, bytes }),
        (circuit(), any::<u32>())
            .prop_map(|(circuit, bytes)| ClientToRelay::Window { circuit, bytes }),
        (circuit(), close_reason())
            .prop_map(|(circuit, reason)| ClientToRelay::Close { circuit, reason }),
    ]
    .boxed()
}

pub(crate) fn relay_to_client() -> BoxedStrategy<RelayToClient> {
    prop_oneof![
        Just(RelayToClient::Listening),
        (circuit(), key())
            .prop_map(|(circuit, source)| RelayToClient::Incoming { circuit, source }),
        circuit().prop_map(|circuit| RelayToClient::Connected { circuit }),
        (circuit(), vec(any::<u8>(), 0..3_000))
            .prop_map(|(circuit, bytes)| RelayToClient::Data { circuit, bytes }),
        (circuit(), any::<u32>())
            .prop_map(|(circuit, bytes)| RelayToClient::Window { circuit, bytes }),
        (circuit(), close_reason())
            .prop_map(|(circuit, reason)| RelayToClient::Close { circuit, reason }),
    ]
    .boxed()
}

fn circuit() -> impl Strategy<Value = CircuitId> {
    any::<u32>().prop_map(CircuitId)
}

fn close_reason() -> impl Strategy<Value = CloseReason> {
    use CloseReason as R;
    select(vec![
        R::Closed,
        R::NotListening,
        R::Timeout,
        R::Rejected,
        R::Gone,
        R::Limit,
        R::Protocol,
    ])
}

pub(crate) fn friend_message() -> BoxedStrategy<FriendMessage> {
    let resume = (any::<u64>(), any::<u64>(), hash(), any::<bool>()).prop_map(
        |(epoch, counter, token_id, wants_token)| {
            FriendMessage::Resume(Resume { epoch, counter, token_id, wants_token })
        },
    );
    prop_oneof![
        1 => resume,
        4 => move_token().prop_map(|token| FriendMessage::MoveToken(Box::new(token))),
        1 => any::<u64>().prop_map(|counter| FriendMessage::TokenWanted { counter }),
        2 => inconsistency().prop_map(|message| FriendMessage::Inconsistency(Box::new(message))),
        1 => (hash(), signature()).prop_map(|(reset_token, signature)| {
            FriendMessage::AcceptReset(AcceptReset { reset_token, signature })
        }),
        1 => any::<u64>().prop_map(|epoch| FriendMessage::Removed { epoch }),
        1 => any::<u32>().prop_map(|page| FriendMessage::RequestStateProof { page }),
        1 => proof_page().prop_map(FriendMessage::StateProof),
        1 => (currency(), vec(request_id(), 0..20)).prop_map(|(currency, request_ids)| {
            FriendMessage::Endings(Endings { currency, request_ids })
        }),
        1 => (currency(), vec(collected(), 0..4), vec(request_id(), 0..20)).prop_map(
            |(currency, collected, unknown)| {
                FriendMessage::EndingsAnswer(EndingsAnswer { currency, collected, unknown })
            },
        ),
    ]
    .boxed()
}

fn proof_page() -> impl Strategy<Value = ProofPage> {
    (any::<u32>(), 0..=64u32 << 20, vec(any::<u8>(), 0..2_000))
        .prop_map(|(page, total_bytes, bytes)| ProofPage { page, total_bytes, bytes })
}

pub(crate) fn state_proof() -> impl Strategy<Value = StateProof> {
    let pending =
        (any::<bool>(), request(), any::<bool>(), option::of(response()), option::of(lock()))
            .prop_map(|(sent_by_high, request, released, response, src_plain_lock)| PendingState {
                sent_by_high,
                request,
                released,
                response,
                src_plain_lock,
            });
    let open = (any::<bool>(), any::<bool>()).prop_map(|(low, high)| [low, high]);
    let most = (limit(), limit()).prop_map(|(low, high)| [low, high]);
    let active = (balance(), most, open, vec(pending, 0..4)).prop_map(
        |(balance, max_debt, requests_open, pending)| {
            LineState::Active(ActiveState { balance, max_debt, requests_open, pending })
        },
    );
    let proposed =
        (option::of(proposal()), proposal(), any::<bool>()).prop_map(|(one, other, swapped)| {
            let (low, high) = if swapped { (Some(other), one) } else { (one, Some(other)) };
            LineState::Proposed { low, high }
        });
    let state = btree_map(currency(), prop_oneof![active, proposed], 0..4).prop_map(|state| {
        state.into_iter().map(|(currency, line)| CurrencyState { currency, line }).collect()
    });
    let token = (move_token(), state)
        .prop_map(|(token, state)| Signed::Token { token: Box::new(token), state });
    let reset = (any::<bool>(), inconsistency(), hash(), signature()).prop_map(
        |(by_asker, message, reset_token, signature)| {
            let acceptance = AcceptReset { reset_token, signature };
            let terms = message.terms;
            Signed::Reset(Box::new(BegunEpoch { by_asker, terms, acceptance }))
        },
    );
    (prop_oneof![token, reset], option::of(move_token()))
        .prop_map(|(signed, my_token)| StateProof { signed, my_token })
}

fn inconsistency() -> impl Strategy<Value = Inconsistency> {
    let balances = btree_map(currency(), balance(), 0..4).prop_map(|balances| {
        balances
            .into_iter()
            .map(|(currency, balance)| ResetBalance { currency, balance })
            .collect::<Vec<_>>()
    });
    let ids = (option::of(hash()), option::of(hash()));
    let terms = (any::<u64>(), balances, any::<bool>(), ids, signature()).prop_map(
        |(epoch, balances, pending, (last, previous), signature)| ResetTerms {
            body: ResetTermsBody { epoch, balances, pending, last, previous },
            signature,
        },
    );
    (terms, vec(collected(), 0..4))
        .prop_map(|(terms, collected)| Inconsistency { terms, collected })
}

fn collected() -> impl Strategy<Value = Collected> {
    let collect =
        (request_id(), lock(), lock()).prop_map(|(request_id, src_plain_lock, dest_plain_lock)| {
            Collect { request_id, src_plain_lock, dest_plain_lock }
        });
    (currency(), response(), collect)
        .prop_map(|(currency, response, collect)| Collected::of(currency, &response, &collect))
}

pub(crate) fn move_token() -> impl Strategy<Value = MoveToken> {
    let terms = btree_map(currency(), (any::<bool>(), proposal()), 0..4).prop_map(|terms| {
        terms
            .into_iter()
            .map(|(currency, (enabled, proposal))| CurrencyTerms { currency, enabled, proposal })
            .collect::<Vec<_>>()
    });
    let ops = btree_map(currency(), vec(op(), 1..6), 0..4).prop_map(|ops| {
        ops.into_iter().map(|(currency, ops)| CurrencyOps { currency, ops }).collect::<Vec<_>>()
    });
    let fixed = (any::<u64>(), any::<u64>(), hash(), hash(), signature());
    (fixed, terms, ops, option::of(vec(server(), 0..4))).prop_map(
        |((epoch, counter, prev_token, state_hash, signature), terms, ops, relays)| MoveToken {
            body: MoveTokenBody {
                epoch,
                counter,
                prev_token,
                currency_terms: terms,
                currency_ops: ops,
                relays,
                state_hash,
            },
            signature,
        },
    )
}

fn op() -> BoxedStrategy<FriendOp> {
    prop_oneof![
        request().prop_map(FriendOp::Request),
        response().prop_map(FriendOp::Response),
        (request_id(), lock()).prop_map(|(request_id, src_plain_lock)| FriendOp::Commit(Commit {
            request_id,
            src_plain_lock
        })),
        (request_id(), lock(), lock()).prop_map(|(request_id, src_plain_lock, dest_plain_lock)| {
            FriendOp::Collect(Collect { request_id, src_plain_lock, dest_plain_lock })
        }),
        (request_id(), cancel_reason(), option::of(key())).prop_map(
            |(request_id, reason, reporter)| FriendOp::Cancel(Cancel {
                request_id,
                reason,
                reporter
            })
        ),
        request_id().prop_map(|request_id| FriendOp::Release(Release { request_id })),
    ]
    .boxed()
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let ids = (request_id(), hash(), invoice_id());
    let amounts = (credits(), credits(), credits());
    (ids, keys(0..=31), amounts, any::<bool>(), any::<u64>()).prop_map(
        |((request_id, lock, invoice_id), route, amounts, spontaneous, hold_seconds)| Request {
            request_id,
            src_hashed_lock: HashedLock::from_bytes(*lock.as_bytes()),
            route,
            dest_payment: amounts.0,
            total_dest_payment: amounts.1,
            invoice_id,
            left_fees: amounts.2,
            spontaneous,
            hold_seconds,
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    (request_id(), hash(), any::<bool>(), hash(), signature()).prop_map(
        |(request_id, lock, is_complete, response_hash, signature)| Response {
            request_id,
            dest_hashed_lock: HashedLock::from_bytes(*lock.as_bytes()),
            is_complete,
            response_hash,
            signature,
        },
    )
}

fn cancel_reason() -> impl Strategy<Value = CancelReason> {
    use CancelReason as R;
    select(vec![
        R::NoRoute,
        R::NoRoom,
        R::FeeTooLow,
        R::Offline,
        R::UnknownInvoice,
        R::Expired,
        R::AlreadyPaid,
        R::Busy,
        R::Declined,
        R::Released,
    ])
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (balance(), limit(), any::<bool>()).prop_map(|(opening_balance, max_debt, requests_open)| {
        Proposal { opening_balance, max_debt, requests_open }
    })
}

pub(crate) fn client_to_index() -> BoxedStrategy<ClientToIndex> {
    let query = (currency(), credits(), key(), key(), vec(edge(), 0..4), 1..=16_u8).prop_map(
        |(currency, amount, source, destination, exclude, max_parts)| RouteQuery {
            currency,
            amount,
            source,
            destination,
            exclude,
            max_parts,
        },
    );
    prop_oneof![
        update().prop_map(|update| ClientToIndex::Update(Box::new(update))),
        (any::<u64>(), query).prop_map(|(id, query)| ClientToIndex::RequestRoutes {
            request_id: RouteRequestId(id),
            query
        }),
        (any::<u64>(), cycle_query()).prop_map(|(id, query)| ClientToIndex::RequestCycles {
            request_id: RouteRequestId(id),
            query
        }),
    ]
    .boxed()
}

pub(crate) fn index_to_client() -> BoxedStrategy<IndexToClient> {
    prop_oneof![
        (any::<u64>(), any::<u64>())
            .prop_map(|(epoch, counter)| IndexToClient::Behind { epoch, counter }),
        Just(IndexToClient::SnapshotWanted),
        (any::<u64>(), multi_routes(), any::<bool>()).prop_map(|(id, multi_routes, cut_short)| {
            IndexToClient::Routes { request_id: RouteRequestId(id), multi_routes, cut_short }
        }),
        (any::<u64>(), text()).prop_map(|(id, reason)| IndexToClient::Refused {
            request_id: RouteRequestId(id),
            reason
        }),
        (any::<u64>(), vec(cycle(), 0..=8), any::<bool>()).prop_map(|(id, cycles, cut_short)| {
            IndexToClient::Cycles { request_id: RouteRequestId(id), cycles, cut_short }
        }),
    ]
    .boxed()
}

fn cycle_query() -> impl Strategy<Value = CycleQuery> {
    (currency(), keys(1..=9), vec(credits(), 8), any::<u32>(), vec(edge(), 0..4)).prop_map(
        |(currency, keys, most, max_fee_ppm, exclude)| {
            let ends = keys[1..].iter().zip(most);
            let mut first: Vec<CycleEnd> =
                ends.map(|(friend, most)| CycleEnd { friend: *friend, most }).collect();
            let last = first.split_off(first.len() / 2);
            CycleQuery { currency, node: keys[0], first, last, max_fee_ppm, exclude }
        },
    )
}

fn cycle() -> impl Strategy<Value = Cycle> {
    (keys(3..=31), credits(), credits(), any::<u64>()).prop_map(
        |(mut keys, amount, fee, age_ms)| {
            keys.push(keys[0]);
            Cycle { route: Route { keys, amount, fee }, age_ms }
        },
    )
}

pub(crate) fn index_peer_message() -> BoxedStrategy<IndexPeerMessage> {
    let digest = (btree_map(key(), (any::<u64>(), any::<u64>()), 0..5), any::<bool>()).prop_map(
        |(entries, last)| {
            let entries = entries
                .into_iter()
                .map(|(node, (epoch, counter))| DigestEntry { node, epoch, counter })
                .collect();
            IndexPeerMessage::Digest { entries, last }
        },
    );
    prop_oneof![
        digest,
        update().prop_map(|update| IndexPeerMessage::Update(Box::new(update))),
        key().prop_map(|node| IndexPeerMessage::Wanted { node }),
        (key(), any::<u64>(), any::<u64>(), signature()).prop_map(
            |(node, epoch, counter, signature)| IndexPeerMessage::NodeDown(NodeDown {
                node,
                epoch,
                counter,
                signature
            })
        ),
    ]
    .boxed()
}

pub(crate) fn update() -> impl Strategy<Value = SignedUpdate> {
    let set = (key(), currency(), credits(), credits(), rate()).prop_map(
        |(friend, currency, send_capacity, recv_capacity, rate)| UpdateMutation::Set {
            friend,
            currency,
            line: IndexLine { send_capacity, recv_capacity, rate },
        },
    );
    let remove = (key(), currency())
        .prop_map(|(friend, currency)| UpdateMutation::Remove { friend, currency });
    let mutations = vec(prop_oneof![set, remove], 0..6);
    let kind = prop_oneof![
        mutations.clone().prop_map(UpdateKind::Snapshot),
        mutations.prop_map(UpdateKind::Delta),
        hash().prop_map(|table| UpdateKind::Alive { table }),
    ];
    (key(), key(), any::<u64>(), any::<u64>(), any::<u64>(), kind, signature()).prop_map(
        |(node, home_server, epoch, counter, time, kind, signature)| SignedUpdate {
            body: UpdateBody { node, home_server, epoch, counter, time: Timestamp(time), kind },
            signature,
        },
    )
}

fn multi_routes() -> impl Strategy<Value = Vec<MultiRoute>> {
    let route = (keys(2..=32), credits(), credits()).prop_map(|(keys, amount, fee)| Route {
        keys,
        amount,
        fee,
    });
    let multi = (vec(route, 1..4), credits(), any::<u64>())
        .prop_map(|(routes, total_fee, age_ms)| MultiRoute { routes, total_fee, age_ms });
    vec(multi, 0..4)
}

pub(crate) fn app_to_node() -> BoxedStrategy<AppToNode> {
    let routes = (option::of(currency()), credits(), key(), vec(edge(), 0..4)).prop_map(
        |(currency, amount, destination, exclude)| AppRequest::Routes {
            currency,
            amount,
            destination,
            exclude,
        },
    );
    let hold =
        prop_oneof![Just(Hold::None), Just(Hold::Standard), any::<u64>().prop_map(Hold::ForMs)];
    let terms = (option::of(currency()), credits(), text(), option::of(any::<u64>()));
    let create = (any::<[u8; 16]>(), terms, hold).prop_map(
        |(nonce, (currency, amount, description, expires_in_ms), hold)| {
            let nonce = Nonce::from_bytes(nonce);
            AppRequest::CreateInvoice(CreateInvoice {
                nonce,
                currency,
                amount,
                description,
                expires_in_ms,
                hold,
            })
        },
    );
    let invoices = (option::of(invoice_status()), option::of(invoice_cursor()))
        .prop_map(|(status, after)| AppRequest::Invoices { status, after });
    let request = prop_oneof![
        1 => (option::of(key()), any::<u32>()).prop_map(|(friends_after, friends_at_most)| {
            AppRequest::Report { friends_after, friends_at_most }
        }),
        1 => any::<u64>().prop_map(|after| AppRequest::Events { after }),
        1 => Just(AppRequest::Subscribe),
        9 => config().prop_map(AppRequest::Config),
        1 => routes,
        2 => pay().prop_map(AppRequest::Pay),
        1 => clear().prop_map(AppRequest::Clear),
        1 => pay().prop_map(AppRequest::PayByCommit),
        1 => payment_id().prop_map(|payment_id| AppRequest::PaymentCommit { payment_id }),
        1 => payment_id().prop_map(|payment_id| AppRequest::CancelPayment { payment_id }),
        1 => payment_id().prop_map(|payment_id| AppRequest::PaymentStatus { payment_id }),
        1 => create,
        1 => invoice_id().prop_map(|invoice_id| AppRequest::CancelInvoice { invoice_id }),
        1 => invoice_id().prop_map(|invoice_id| AppRequest::InvoiceStatus { invoice_id }),
        1 => history_query().prop_map(AppRequest::History),
        1 => option::of(pending_key()).prop_map(AppRequest::Pending),
        1 => commit().prop_map(|commit| AppRequest::CommitInvoice(Box::new(commit))),
        1 => invoice_id().prop_map(|invoice_id| AppRequest::CollectInvoice { invoice_id }),
        1 => invoices,
        1 => pay().prop_map(AppRequest::Quote),
        1 => (option::of(currency()), key(), any::<bool>()).prop_map(
            |(currency, peer, receive)| AppRequest::Capacity { currency, peer, receive }
        ),
    ];
    (any::<u64>(), request)
        .prop_map(|(id, request)| AppToNode { request_id: AppRequestId(id), request })
        .boxed()
}

fn pay() -> impl Strategy<Value = PayRequest> {
    let spontaneous =
        (key(), credits(), option::of(currency())).prop_map(|(destination, amount, currency)| {
            PaymentTarget::Spontaneous { destination, amount, currency }
        });
    let invoice = invoice().prop_map(|invoice| PaymentTarget::Invoice(Box::new(invoice)));
    let target = prop_oneof![invoice, spontaneous];
    let parts = option::of(1_u8..=16);
    (payment_id(), target, option::of(credits()), option::of(any::<u64>()), text(), parts).prop_map(
        |(payment_id, target, max_fee, deadline_ms, note, max_parts)| PayRequest {
            payment_id,
            target,
            max_fee,
            deadline_ms,
            note,
            max_parts,
        },
    )
}

fn config() -> BoxedStrategy<ConfigRequest> {
    use ConfigRequest as C;
    let default = || option::of(currency());
    let relays = || vec(server(), 0..4);
    prop_oneof![
        (name(), server()).prop_map(|(name, relay)| C::AddRelay { name, relay }),
        name().prop_map(|name| C::RemoveRelay { name }),
        (name(), server()).prop_map(|(name, server)| C::AddIndexServer { name, server }),
        name().prop_map(|name| C::RemoveIndexServer { name }),
        (name(), key(), relays(), default(), balance()).prop_map(
            |(name, public_key, relays, currency, opening_balance)| C::AddFriend {
                name,
                public_key,
                relays,
                currency,
                opening_balance
            }
        ),
        (name(), key(), relays()).prop_map(|(friend, public_key, relays)| C::SetFriendRelays {
            friend,
            public_key,
            relays
        }),
        (name(), name()).prop_map(|(friend, new_name)| C::SetFriendName { friend, new_name }),
        (name(), any::<bool>())
            .prop_map(|(friend, enabled)| C::SetFriendEnabled { friend, enabled }),
        (name(), currency(), balance()).prop_map(|(friend, currency, opening_balance)| {
            C::AddCurrency { friend, currency, opening_balance }
        }),
        (name(), currency()).prop_map(|(friend, currency)| C::RemoveCurrency { friend, currency }),
        (name(), default(), any::<bool>())
            .prop_map(|(friend, currency, open)| { C::SetRequestsOpen { friend, currency, open } }),
        (name(), default(), limit()).prop_map(|(friend, currency, max_debt)| C::SetMaxDebt {
            friend,
            currency,
            max_debt
        }),
        (name(), default(), rate()).prop_map(|(friend, currency, rate)| C::SetRate {
            friend,
            currency,
            rate
        }),
        currency().prop_map(|currency| C::SetDefaultCurrency { currency }),
        any::<bool>().prop_map(|accept| C::SetSpontaneous { accept }),
        option::of(1..=u32::MAX).prop_map(|days| C::SetRetention { days }),
        (default(), 0..=MAX_DECIMALS)
            .prop_map(|(currency, decimals)| C::SetDecimals { currency, decimals }),
        (name(), hash()).prop_map(|(friend, reset_token)| C::ResetFriend { friend, reset_token }),
        (name(), any::<bool>()).prop_map(|(friend, forfeit)| C::RemoveFriend { friend, forfeit }),
        (name(), hash(), option::of(key())).prop_map(|(friend, token, public_key)| {
            C::RecoverFriend { friend, token, public_key }
        }),
        any::<bool>().prop_map(|cancel_unknown| C::EndRecovery { cancel_unknown }),
    ]
    .boxed()
}

pub(crate) fn node_to_app() -> BoxedStrategy<NodeToApp> {
    let reply = prop_oneof![
        Just(AppReply::Done),
        report().prop_map(|report| AppReply::Report(Box::new(report))),
        multi_routes().prop_map(AppReply::Routes),
        payment_report().prop_map(|payment| AppReply::Payment(Box::new(payment))),
        invoice_report().prop_map(|invoice| AppReply::Invoice(Box::new(invoice))),
        (vec(history_entry(), 0..4), any::<u64>())
            .prop_map(|(entries, next)| AppReply::History(HistoryPage { entries, next })),
        (any::<u64>(), vec(pending_entry(), 0..4), any::<bool>()).prop_map(
            |(now, entries, more)| {
                AppReply::Pending(PendingPage { now: Timestamp(now), entries, more })
            }
        ),
        (vec(journal_event(), 0..4), any::<u64>(), any::<u64>())
            .prop_map(|(events, up_to, last)| AppReply::Events(EventPage { events, up_to, last })),
        invoice_page().prop_map(AppReply::Invoices),
        quote().prop_map(|quote| AppReply::Quote(Box::new(quote))),
        credits().prop_map(AppReply::Capacity),
        commit().prop_map(|commit| AppReply::Commit(Box::new(commit))),
    ];
    let error = (error_code(), text()).prop_map(|(code, message)| AppError { code, message });
    let result = prop_oneof![3 => reply.prop_map(Ok), 1 => error.prop_map(Err)];
    let event = prop_oneof![
        (any::<u64>(), report())
            .prop_map(|(sequence, report)| AppEvent::Report { sequence, report: Box::new(report) }),
        (any::<u64>(), mutation()).prop_map(|(sequence, mutation)| AppEvent::Mutation {
            sequence,
            mutation: Box::new(mutation)
        }),
        (vec(friend_report(), 0..4), any::<bool>())
            .prop_map(|(friends, more)| AppEvent::Friends { friends, more }),
        journal_event().prop_map(AppEvent::Journal),
    ];
    prop_oneof![
        (any::<u64>(), result)
            .prop_map(|(id, result)| NodeToApp::Response { request_id: AppRequestId(id), result }),
        event.prop_map(NodeToApp::Event),
    ]
    .boxed()
}

fn journal_event() -> impl Strategy<Value = JournalEvent> {
    let entry = prop_oneof![
        payment_report().prop_map(|payment| JournalEntry::Payment(Box::new(payment))),
        invoice_report().prop_map(|invoice| JournalEntry::Invoice(Box::new(invoice))),
    ];
    (any::<u64>(), entry).prop_map(|(number, entry)| JournalEvent { number, entry })
}

fn error_code() -> impl Strategy<Value = ErrorCode> {
    use ErrorCode as C;
    select(vec![
        C::PermissionDenied,
        C::NotFound,
        C::AlreadyExists,
        C::Invalid,
        C::Refused,
        C::Busy,
        C::NoConnection,
        C::Stopping,
        C::LimitReached,
        C::NotYet,
        C::NothingToClear,
    ])
}

fn quote() -> impl Strategy<Value = QuoteReport> {
    let ways = multi_routes().prop_map(|routes| routes.into_iter().next());
    (key(), currency(), credits(), ways, failure()).prop_map(
        |(destination, currency, amount, ways, failure)| {
            let ways = ways.ok_or(failure);
            QuoteReport { destination, currency, amount, ways }
        },
    )
}

fn failure() -> impl Strategy<Value = PaymentFailure> {
    use PaymentFailure as F;
    prop_oneof![
        credits().prop_map(|available| F::NoRoom { available }),
        Just(F::FriendsOffline),
        Just(F::NoIndexServer),
        Just(F::NoRoute),
        credits().prop_map(|fee| F::FeeTooHigh { fee }),
        (cancel_reason(), option::of(key()))
            .prop_map(|(reason, reporter)| F::Refused { reason, reporter }),
        Just(F::Deadline),
        Just(F::Expired),
        credits().prop_map(|available| F::NoCapacity { available }),
        Just(F::TakenBack),
        key().prop_map(|friend| F::NoAnswer { friend }),
    ]
}

fn payment_report() -> impl Strategy<Value = PaymentReport> {
    let status = prop_oneof![
        Just(PaymentStatus::Routing),
        Just(PaymentStatus::Requesting),
        Just(PaymentStatus::Committed),
        (receipt(), credits()).prop_map(|(receipt, fee)| PaymentStatus::Succeeded {
            receipt: Box::new(receipt),
            fee
        }),
        failure().prop_map(PaymentStatus::Failed),
        Just(PaymentStatus::Cancelled),
        Just(PaymentStatus::Unknown),
        Just(PaymentStatus::Complete),
    ];
    let parts = any::<u8>();
    (payment_id(), invoice_id(), key(), currency(), credits(), any::<u64>(), status, parts)
        .prop_map(
            |(payment_id, invoice_id, destination, currency, amount, created_at, status, parts)| {
                PaymentReport {
                    payment_id,
                    invoice_id,
                    destination,
                    currency,
                    amount,
                    created_at: Timestamp(created_at),
                    status,
                    parts,
                }
            },
        )
}

fn invoice_report() -> impl Strategy<Value = InvoiceReport> {
    (invoice(), invoice_status(), any::<bool>()).prop_map(|(invoice, status, held)| InvoiceReport {
        invoice,
        status,
        held,
    })
}

fn invoice_status() -> impl Strategy<Value = InvoiceStatus> {
    use InvoiceStatus as S;
    select(vec![
        S::Open,
        S::Requested,
        S::Complete,
        S::Committed,
        S::Collected,
        S::Cancelled,
        S::Expired,
    ])
}

fn invoice_cursor() -> impl Strategy<Value = InvoiceCursor> {
    (any::<u64>(), invoice_id()).prop_map(|(created_at, invoice_id)| InvoiceCursor {
        created_at: Timestamp(created_at),
        invoice_id,
    })
}

fn invoice_page() -> impl Strategy<Value = InvoicePage> {
    (vec(invoice_report(), 0..4), option::of(invoice_cursor()))
        .prop_map(|(invoices, next)| InvoicePage { invoices, next })
}

/// Any invoice, whether or not its terms agree.
pub(crate) fn invoice() -> impl Strategy<Value = Invoice> {
    let times = (any::<u64>(), any::<u64>(), option::of(any::<u64>()));
    (any::<bool>(), currency(), key(), credits(), text(), times, any::<[u8; 16]>()).prop_map(
        |(registered, currency, dest_public_key, dest_payment, description, times, nonce)| {
            Invoice {
                registered,
                currency,
                dest_public_key,
                dest_payment,
                description,
                created_at: Timestamp(times.0),
                expires_at: Timestamp(times.1),
                hold_until: times.2.map(Timestamp),
                nonce: Nonce::from_bytes(nonce),
            }
        },
    )
}

pub(crate) fn commit() -> impl Strategy<Value = offset_proto::payment::Commit> {
    let amounts = (credits(), credits());
    (hash(), lock(), lock(), amounts, invoice_id(), currency(), signature()).prop_map(
        |(response_hash, src_plain_lock, dest, amounts, invoice_id, currency, signature)| {
            offset_proto::payment::Commit {
                response_hash,
                src_plain_lock,
                dest_hashed_lock: dest.hashed(),
                dest_payment: amounts.0,
                total_dest_payment: amounts.1,
                invoice_id,
                currency,
                signature,
            }
        },
    )
}

pub(crate) fn receipt() -> impl Strategy<Value = Receipt> {
    let locks = (lock(), lock());
    let amounts = (credits(), credits());
    (hash(), invoice_id(), currency(), locks, any::<bool>(), amounts, signature()).prop_map(
        |(response_hash, invoice_id, currency, locks, is_complete, amounts, signature)| Receipt {
            response_hash,
            invoice_id,
            currency,
            src_plain_lock: locks.0,
            dest_plain_lock: locks.1,
            is_complete,
            dest_payment: amounts.0,
            total_dest_payment: amounts.1,
            signature,
        },
    )
}

fn report() -> impl Strategy<Value = NodeReport> {
    let servers = || vec(server_report(), 0..3);
    let rest = (
        vec(friend_report(), 0..4),
        any::<bool>(),
        btree_map(currency(), 0..=MAX_DECIMALS, 0..4),
        any::<u64>(),
    );
    (key(), currency(), any::<bool>(), servers(), servers(), rest).prop_map(
        |(public_key, default_currency, accepts_spontaneous, relays, index_servers, rest)| {
            let (friends, more_friends, decimals, last_event) = rest;
            NodeReport {
                public_key,
                default_currency,
                accepts_spontaneous,
                relays,
                index_servers,
                friends,
                more_friends,
                decimals,
                last_event,
                recovering: more_friends,
                recoverable: Vec::new(),
            }
        },
    )
}

fn mutation() -> BoxedStrategy<ReportMutation> {
    use ReportMutation as M;
    prop_oneof![
        currency().prop_map(M::SetDefaultCurrency),
        any::<bool>().prop_map(M::SetAcceptsSpontaneous),
        (currency(), 0..=MAX_DECIMALS).prop_map(|(currency, n)| M::SetDecimals(currency, n)),
        vec(server_report(), 0..3).prop_map(M::SetRelays),
        vec(server_report(), 0..3).prop_map(M::SetIndexServers),
        friend_report().prop_map(M::SetFriend),
        key().prop_map(M::RemoveFriend),
        any::<bool>().prop_map(M::SetRecovering),
        btree_map(key(), (hash(), vec(currency_report(), 0..3)), 0..3).prop_map(|nodes| {
            let node = |(public_key, (token, currencies))| RecoverableReport {
                public_key,
                token,
                currencies,
            };
            M::SetRecoverable(nodes.into_iter().map(node).collect())
        }),
    ]
    .boxed()
}

fn server_report() -> impl Strategy<Value = ServerReport> {
    (name(), server(), any::<bool>(), text()).prop_map(|(name, server, connected, last_error)| {
        ServerReport { name, server, connected, last_error }
    })
}

fn friend_report() -> impl Strategy<Value = FriendReport> {
    let flags = (any::<bool>(), any::<bool>());
    let currencies = vec(currency_report(), 0..4);
    let proven = (hash(), vec(currency_report(), 0..4))
        .prop_map(|(token, currencies)| FriendRecovery::Proven { token, currencies });
    let recovery = prop_oneof![Just(FriendRecovery::None), Just(FriendRecovery::Waiting), proven];
    let standing = (standing(), recovery);
    (name(), key(), vec(server(), 0..3), flags, text(), currencies, standing).prop_map(
        |(name, public_key, relays, flags, last_error, currencies, standing)| FriendReport {
            name,
            public_key,
            relays,
            enabled: flags.0,
            online: flags.1,
            last_error,
            currencies,
            standing: standing.0,
            recovery: standing.1,
        },
    )
}

fn standing() -> BoxedStrategy<FriendStanding> {
    let proven = vec((currency(), credits(), credits()), 0..3).prop_map(|rows| {
        let row = |(currency, local, remote)| ProvenReport { currency, local, remote };
        rows.into_iter().map(row).collect()
    });
    let inconsistent = (text(), terms(), option::of(terms()), any::<bool>(), proven).prop_map(
        |(reason, local, remote, accepted, proven)| {
            let report = InconsistentReport { reason, local, remote, accepted, proven };
            FriendStanding::Inconsistent(Box::new(report))
        },
    );
    prop_oneof![
        Just(FriendStanding::Consistent),
        inconsistent,
        Just(FriendStanding::Removing),
        Just(FriendStanding::RemovedByFriend),
    ]
    .boxed()
}

fn terms() -> impl Strategy<Value = TermsReport> {
    let balances = vec((currency(), balance()), 0..3).prop_map(|rows| {
        rows.into_iter().map(|(currency, balance)| ResetBalance { currency, balance }).collect()
    });
    (hash(), any::<u64>(), any::<bool>(), balances).prop_map(
        |(reset_token, epoch, pending, balances)| TermsReport {
            reset_token,
            epoch,
            pending,
            balances,
        },
    )
}

fn currency_report() -> impl Strategy<Value = CurrencyReport> {
    let flags = (any::<bool>(), any::<bool>());
    let frozen = (credits(), credits(), credits());
    let line = (balance(), flags, limit(), limit(), frozen).prop_map(
        |(balance, flags, local_max_debt, remote_max_debt, frozen)| {
            CurrencyStatus::Active(LineReport {
                balance,
                local_requests_open: flags.0,
                remote_requests_open: flags.1,
                local_max_debt,
                remote_max_debt,
                local_pending_debt: frozen.0,
                remote_pending_debt: frozen.1,
                exposure: frozen.2,
            })
        },
    );
    let proposed = (option::of(proposal()), option::of(proposal()))
        .prop_map(|(local, remote)| CurrencyStatus::Proposed { local, remote });
    (currency(), rate(), prop_oneof![line, proposed])
        .prop_map(|(currency, rate, status)| CurrencyReport { currency, rate, status })
}

pub(crate) fn key() -> impl Strategy<Value = PublicKey> + Clone {
    any::<[u8; 32]>().prop_filter_map("weak key", |bytes| PublicKey::from_bytes(bytes).ok())
}

fn keys(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<PublicKey>> {
    // Shuffled, as a set alone would be sorted.
    btree_set(key(), count).prop_map(|keys| keys.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

fn edge() -> impl Strategy<Value = Edge> {
    (key(), key()).prop_map(|(from, to)| Edge { from, to })
}

pub(crate) fn server() -> impl Strategy<Value = ServerAddress> {
    (key(), address()).prop_map(|(public_key, address)| ServerAddress { public_key, address })
}

pub(crate) fn address() -> impl Strategy<Value = NetworkAddress> {
    let host = prop_oneof![
        "[a-z0-9][a-z0-9.-]{0,40}",
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
    ];
    (host, any::<u16>()).prop_map(|(host, port)| format!("{host}:{port}").parse().unwrap())
}

pub(crate) fn currency() -> impl Strategy<Value = Currency> + Clone {
    "[A-Za-z0-9_.][A-Za-z0-9_.-]{0,15}".prop_map(|text| text.parse().unwrap())
}

fn clear() -> impl Strategy<Value = ClearRequest> {
    let options = (option::of(currency()), option::of(name()), option::of(credits()));
    (payment_id(), options, any::<u32>()).prop_map(
        |(payment_id, (currency, friend, max_fee), max_fee_ppm)| ClearRequest {
            payment_id,
            currency,
            friend,
            max_fee,
            max_fee_ppm,
        },
    )
}

fn name() -> impl Strategy<Value = Name> {
    "[a-zA-Zäöüß]([a-zA-Zäöüß ]{0,62}[a-zA-Zäöüß])?".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn text() -> impl Strategy<Value = Text> {
    "\\PC{0,80}".prop_map(|text| Text::cut(&text))
}

fn hash() -> impl Strategy<Value = HashResult> {
    any::<[u8; 32]>().prop_map(HashResult::from_bytes)
}

fn lock() -> impl Strategy<Value = PlainLock> {
    any::<[u8; 32]>().prop_map(PlainLock::from_bytes)
}

fn invoice_id() -> impl Strategy<Value = InvoiceId> {
    any::<[u8; 32]>().prop_map(InvoiceId::from_bytes)
}

fn request_id() -> impl Strategy<Value = RequestId> {
    any::<[u8; 16]>().prop_map(RequestId::from_bytes)
}

fn payment_id() -> impl Strategy<Value = PaymentId> {
    any::<[u8; 16]>().prop_map(PaymentId::from_bytes)
}

fn signature() -> impl Strategy<Value = Signature> {
    any::<[u8; 64]>().prop_map(Signature::from_bytes)
}

fn credits() -> impl Strategy<Value = Credits> {
    prop_oneof![any::<u64>().prop_map(u128::from), any::<u128>()].prop_map(Credits)
}

fn limit() -> impl Strategy<Value = Credits> {
    (0..=Credits::LIMIT.0).prop_map(Credits)
}

fn balance() -> impl Strategy<Value = Balance> {
    any::<i128>().prop_map(|value| Balance::new(value).unwrap_or_default())
}

fn rate() -> impl Strategy<Value = Rate> {
    (any::<u32>(), any::<u64>()).prop_map(|(ppm, add)| Rate { ppm, add })
}

fn history_query() -> impl Strategy<Value = HistoryQuery> {
    let filters = (option::of(name()), option::of(currency()), any::<bool>(), any::<bool>());
    (any::<[u64; 3]>(), filters).prop_map(
        |([since, until, after], (friend, currency, only_fees, newest_first))| HistoryQuery {
            since: Timestamp(since),
            until: Timestamp(until),
            friend,
            currency,
            only_fees,
            newest_first,
            after,
        },
    )
}

fn history_event() -> impl Strategy<Value = HistoryEvent> {
    use HistoryEvent as E;
    let adjustment = select(vec![Adjustment::WrittenOff, Adjustment::Reset, Adjustment::Recovered]);
    prop_oneof![
        Just(E::Opened),
        (payment_id(), invoice_id(), key(), credits(), credits(), text()).prop_map(
            |(payment_id, invoice_id, destination, amount, fee, note)| E::Paid {
                payment_id,
                invoice_id,
                destination,
                amount,
                fee,
                note
            }
        ),
        (invoice_id(), text())
            .prop_map(|(invoice_id, description)| E::Received { invoice_id, description }),
        (option::of(key()), request_id())
            .prop_map(|(from, forward_id)| E::ForwardedOut { from, forward_id }),
        (option::of(key()), request_id(), credits())
            .prop_map(|(to, forward_id, fee)| E::ForwardedIn { to, forward_id, fee }),
        (payment_id(), credits()).prop_map(|(payment_id, fee)| E::Cleared { payment_id, fee }),
        adjustment.prop_map(E::Adjusted),
        Just(E::Closed),
        Just(E::CarriedForward),
    ]
}

fn history_entry() -> impl Strategy<Value = HistoryEntry> {
    let place = (key(), name(), currency());
    (any::<[u64; 2]>(), place, balance(), balance(), history_event()).prop_map(
        |([sequence, time], (friend, friend_name, currency), delta, balance, event)| HistoryEntry {
            sequence,
            time: Timestamp(time),
            friend,
            friend_name,
            currency,
            delta,
            balance,
            event,
        },
    )
}

fn pending_key() -> impl Strategy<Value = PendingKey> {
    (key(), currency(), any::<bool>(), request_id()).prop_map(
        |(friend, currency, sent_by_us, request_id)| PendingKey {
            friend,
            currency,
            sent_by_us,
            request_id,
        },
    )
}

fn pending_entry() -> impl Strategy<Value = PendingEntry> {
    let words = (
        select(vec![Direction::Ours, Direction::Theirs, Direction::Passing]),
        select(vec![PendingStage::Requested, PendingStage::Responded, PendingStage::Committed]),
        select(vec![Turn::Us, Turn::Friend, Turn::Buyer, Turn::Seller]),
    );
    let names = (name(), option::of(name()));
    (pending_key(), names, words, credits(), any::<u64>(), any::<bool>()).prop_map(
        |(key, (friend_name, through), (direction, stage, turn), amount, since, released)| {
            let since = Timestamp(since);
            PendingEntry {
                key,
                friend_name,
                direction,
                amount,
                since,
                stage,
                released,
                turn,
                through,
            }
        },
    )
}
