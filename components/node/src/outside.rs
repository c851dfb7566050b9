//! What the core performs its effects on: apps, sessions, relays, index servers. Never waits.

use std::collections::BTreeMap;

use futures::{future::BoxFuture, stream::FuturesUnordered};
use offset_crypto::{PaymentId, PublicKey};
use offset_funder::api::{AppId, Effect, RoutesError, RoutesFor, SessionId};
use offset_index_client::IndexClient;
use offset_net::{SendError, Sender};
use offset_proto::{
    Credits, Currency, Name, ServerAddress, Text,
    app::{AppError, AppReply, AppRequestId, ErrorCode},
    friend::FriendMessage,
    index::{
        Cycle, CycleQuery, Edge, IndexLine, MAX_EXCLUDED_EDGES, MultiRoute, RouteQuery,
        UpdateMutation,
    },
    report::ReportMutation,
};
use tokio::sync::watch;

use crate::{
    Metrics,
    apps::{Apps, Told},
    friends::Contacts,
    view::{ServerStatus, ServerStatuses, View},
};

/// The shell as the core sees it.
pub(crate) struct Outside {
    pub(crate) local: PublicKey,
    pub(crate) apps: Apps,
    pub(crate) metrics: Metrics,
    pub(crate) view: View,
    /// The session that stands with each friend.
    pub(crate) sessions: BTreeMap<PublicKey, (SessionId, Sender<FriendMessage>)>,
    /// Read by the owner of the friends' sessions.
    pub(crate) contacts: watch::Sender<Contacts>,
    /// Read by the one who listens at relays.
    pub(crate) relays: watch::Sender<Vec<ServerAddress>>,
    pub(crate) index: IndexClient,
    pub(crate) index_status: watch::Receiver<offset_index_client::Status>,
    /// Read by the index client.
    pub(crate) index_servers: watch::Sender<Vec<ServerAddress>>,
    /// Questions to the index server.
    pub(crate) searches: FuturesUnordered<BoxFuture<'static, Found>>,
}

/// The answer to a question to the index server.
pub(crate) enum Found {
    /// For the funder.
    ForFunder(RoutesFor, Result<Vec<MultiRoute>, RoutesError>),
    /// Cycles, for the funder.
    Cycles(PaymentId, Result<Vec<Cycle>, RoutesError>),
    /// For an application.
    ForApp(AppId, AppRequestId, Result<AppReply, AppError>),
}

impl Outside {
    /// Performs an effect whose batch is durable.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { friend, session, message } => self.send(friend, session, message),
            Effect::Disconnect { friend, session } => {
                if let Some((current, sender)) = self.sessions.get(&friend)
                    && *current == session
                {
                    self.metrics.counts().broken_friends.raise();
                    log::warn!("friend {friend:?} broke the protocol; its session is closed");
                    sender.close("you broke the protocol");
                }
            }
            Effect::Goodbye { friend, session } => {
                if let Some((current, sender)) = self.sessions.get(&friend)
                    && *current == session
                {
                    sender.close("this session has served its purpose");
                }
            }
            Effect::FindRoutes { asker, query } => self.find_routes(asker, query),
            Effect::FindCycles { payment_id, query } => self.find_cycles(payment_id, query),
            Effect::FindCollected { .. } | Effect::FindPast { .. } => {
                unreachable!("the core looks that up")
            }
            Effect::Reply { app, request_id, result } => self.reply(app, request_id, result),
            Effect::Mutation(mutation) => {
                let mutation = self.view.follow(mutation);
                self.apps.tell(&Told::Mutation(mutation));
            }
            Effect::Journal(event) => self.apps.tell(&Told::Journal(event)),
            Effect::IndexLine { friend, currency, line } => {
                self.index.update_lines(vec![line_mutation(friend, currency, line)]);
            }
            Effect::Contact { friend, contact } => {
                self.contacts.send_modify(|contacts| match contact {
                    Some(contact) => drop(contacts.insert(friend, contact)),
                    None => drop(contacts.remove(&friend)),
                });
            }
            Effect::Relays(relays) => drop(self.relays.send_replace(relays)),
            Effect::IndexServers(servers) => self.use_index_servers(servers),
        }
    }

    /// Whether this is the session that stands with the friend.
    pub(crate) fn is_current(&self, friend: &PublicKey, session: SessionId) -> bool {
        self.sessions.get(friend).is_some_and(|(current, _)| *current == session)
    }

    /// A session replaces the one before.
    pub(crate) fn open_session(
        &mut self,
        friend: PublicKey,
        session: SessionId,
        sender: Sender<FriendMessage>,
    ) {
        self.sessions.insert(friend, (session, sender));
    }

    /// Forgets the session, which closes it where it still stands.
    pub(crate) fn close_session(&mut self, friend: &PublicKey) {
        if let Some((_, sender)) = self.sessions.remove(friend) {
            sender.close("the session is over");
        }
    }

    /// Something went wrong with reaching a friend, or not any more.
    pub(crate) fn set_friend_error(&mut self, friend: PublicKey, error: Text) {
        let mutation = self.view.set_friend(friend, error);
        self.tell_if(mutation);
    }

    /// Listening at relays stands differently.
    pub(crate) fn set_relays(&mut self, statuses: ServerStatuses) {
        let mutation = self.view.set_relays(statuses);
        self.tell_if(mutation);
    }

    /// Shows the connection to index servers as it is now.
    pub(crate) fn index_status_changed(&mut self) {
        let status = self.index_status.borrow_and_update().clone();
        let report = |server: &ServerAddress| {
            let error = match &status.last_error {
                Some((key, error)) if *key == server.public_key => Text::cut(error),
                Some(_) | None => Text::cut(""),
            };
            let connected = status.connected == Some(server.public_key);
            (server.clone(), ServerStatus { connected, last_error: error })
        };
        let statuses = self.index_servers.borrow().iter().map(report).collect();
        let mutation = self.view.set_index_servers(statuses);
        self.tell_if(mutation);
    }

    /// Asks for routes from this node for an application.
    pub(crate) fn find_routes_for_app(
        &self,
        (app, id): (AppId, AppRequestId),
        currency: Currency,
        amount: Credits,
        (destination, mut exclude): (PublicKey, Vec<Edge>),
    ) {
        exclude.truncate(MAX_EXCLUDED_EDGES);
        let source = self.local;
        let max_parts = ROUTES_MAX_PARTS;
        let query = RouteQuery { currency, amount, source, destination, exclude, max_parts };
        let index = self.index.clone();
        self.searches.push(Box::pin(async move {
            let routes = index.request_routes(query).await;
            Found::ForApp(
                app,
                id,
                routes.map(AppReply::Routes).map_err(|error| index_error(&error)),
            )
        }));
    }

    fn send(&mut self, friend: PublicKey, session: SessionId, message: FriendMessage) {
        let Some((current, sender)) = self.sessions.get(&friend) else { return };
        if *current != session {
            return;
        }
        log::trace!("to {friend:?}: {message:?}");
        if matches!(message, FriendMessage::MoveToken(_)) {
            self.metrics.counts().tokens_sent.raise();
        }
        match sender.try_send(message) {
            // Closed: the end of the session is on its way here.
            Ok(()) | Err(SendError::Closed) => {}
            Err(error @ (SendError::Full | SendError::TooLong)) => {
                self.metrics.counts().slow_friends.raise();
                log::warn!("the session with friend {friend:?} is closed: {error}");
                sender.close(&error.to_string());
            }
        }
    }

    fn find_routes(&self, asker: RoutesFor, query: RouteQuery) {
        let index = self.index.clone();
        self.searches.push(Box::pin(async move {
            let routes = index.request_routes(query).await.map_err(|error| {
                log::debug!("no routes for {asker:?}: {error}");
                routes_error(&error)
            });
            Found::ForFunder(asker, routes)
        }));
    }

    fn find_cycles(&self, payment_id: PaymentId, query: CycleQuery) {
        let index = self.index.clone();
        self.searches.push(Box::pin(async move {
            let cycles = index.request_cycles(query).await.map_err(|error| {
                log::debug!("no cycles for {payment_id:?}: {error}");
                routes_error(&error)
            });
            Found::Cycles(payment_id, cycles)
        }));
    }

    fn reply(&mut self, app: AppId, id: AppRequestId, mut result: Result<AppReply, AppError>) {
        let Ok(AppReply::Report(report)) = &mut result else {
            return self.apps.reply(app, id, result);
        };
        self.view.complete(report);
        if !self.apps.is_subscribing(app, id) {
            return self.apps.reply(app, id, result);
        }
        self.view.observe(report.as_ref().clone());
        self.apps.begin(app, id, report.as_ref().clone())
    }

    fn use_index_servers(&mut self, servers: Vec<(Name, ServerAddress)>) {
        let servers = servers.into_iter().map(|(_, server)| server).collect();
        self.index_servers.send_replace(servers);
        self.index_status_changed();
    }

    fn tell_if(&mut self, mutation: Option<ReportMutation>) {
        if let Some(mutation) = mutation {
            self.apps.tell(&Told::Mutation(mutation));
        }
    }
}

fn line_mutation(friend: PublicKey, currency: Currency, line: Option<IndexLine>) -> UpdateMutation {
    match line {
        Some(line) => UpdateMutation::Set { friend, currency, line },
        None => UpdateMutation::Remove { friend, currency },
    }
}

const fn routes_error(error: &offset_index_client::Error) -> RoutesError {
    match error {
        offset_index_client::Error::NotConnected => RoutesError::NotConnected,
        offset_index_client::Error::NoAnswer
        | offset_index_client::Error::Busy
        | offset_index_client::Error::Refused { .. }
        | offset_index_client::Error::Stopped => RoutesError::NoAnswer,
    }
}

fn index_error(error: &offset_index_client::Error) -> AppError {
    let code = match error {
        offset_index_client::Error::NotConnected | offset_index_client::Error::NoAnswer => {
            ErrorCode::NoConnection
        }
        offset_index_client::Error::Busy => ErrorCode::Busy,
        offset_index_client::Error::Refused { .. } => ErrorCode::Refused,
        offset_index_client::Error::Stopped => ErrorCode::Stopping,
    };
    AppError { code, message: Text::cut(&error.to_string()) }
}

/// How many routes may share a payment that an application asks about (protocol, section 7).
const ROUTES_MAX_PARTS: u8 = 8;
