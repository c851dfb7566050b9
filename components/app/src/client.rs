//! The connection to a node: requests, their replies, and who takes the events.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use offset_crypto::{Identity, InvoiceId, PaymentId, PublicKey};
use offset_net::{self as net, NetConfig};
use offset_proto::{
    Credits, Currency, Name, ServerAddress,
    app::{
        AppError, AppReply, AppRequest, AppRequestId, AppToNode, ClearRequest, ConfigRequest,
        CreateInvoice, ErrorCode, EventPage, InvoiceCursor, InvoicePage, InvoiceReport,
        InvoiceStatus, NodeToApp, PayRequest, PaymentReport, QuoteReport,
    },
    history::{HistoryPage, HistoryQuery, PendingKey, PendingPage},
    index::{Edge, MultiRoute},
    payment::Commit,
    report::NodeReport,
    token::{LastToken, TokenPage},
};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    Error,
    events::{Events, Feed},
};

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// For how long to try again while nobody answers at the address, as right after a node was
    /// started. Zero: one attempt.
    pub retry_for: Duration,
    /// How long to wait for the reply to a request other than a payment.
    pub reply_timeout: Duration,
    /// Settings of the connection.
    pub net: NetConfig,
}

impl ConnectOptions {
    /// What command line programs use for [`ConnectOptions::retry_for`].
    pub const RETRY_FOR: Duration = Duration::from_secs(2);
    /// See [`ConnectOptions::reply_timeout`].
    pub const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

    /// The defaults, trying again for [`ConnectOptions::RETRY_FOR`].
    #[must_use]
    pub fn retrying() -> Self {
        Self { retry_for: Self::RETRY_FOR, ..Self::default() }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            retry_for: Duration::ZERO,
            reply_timeout: Self::REPLY_TIMEOUT,
            net: NetConfig::default(),
        }
    }
}

/// A connection to a node. Cheap to clone; requests of all clones run at the same time. The
/// connection is closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct AppClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sender: net::Sender<AppToNode>,
    shared: Arc<Mutex<Shared>>,
    reply_timeout: Duration,
    reader: AbortHandle,
}

/// What requests and the reading task share.
#[derive(Debug, Default)]
struct Shared {
    next_id: u64,
    waiting: BTreeMap<AppRequestId, oneshot::Sender<Result<AppReply, AppError>>>,
    feed: Option<Feed>,
    /// Why the connection ended, once it did.
    ended: Option<String>,
}

impl AppClient {
    /// Connects to the node as the application `identity`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::WrongKey`], [`Error::NotTrusted`], and [`Error::Protocol`]
    /// or [`Error::Lost`] for a node that ends the session while it opens.
    pub async fn connect(
        identity: &Identity,
        node: &ServerAddress,
        options: &ConnectOptions,
    ) -> Result<Self, Error> {
        let identity = Arc::new(ChannelIdentity::new(identity));
        let deadline = Instant::now() + options.retry_for;
        let connection = loop {
            match net::dial::<AppToNode, NodeToApp>(&identity, node, &options.net).await {
                Ok(connection) => break connection,
                Err(net::Error::Connect { .. }) if Instant::now() < deadline => {
                    sleep(RETRY_EVERY).await;
                }
                Err(error) => return Err(Error::connecting(error, node)),
            }
        };

        let shared = Arc::new(Mutex::new(Shared::default()));
        let (sender, receiver) = connection.split();
        let reader = tokio::spawn(read(receiver, Arc::clone(&shared))).abort_handle();
        let inner = Inner { sender, shared, reply_timeout: options.reply_timeout, reader };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The node at the other end.
    #[must_use]
    pub fn node(&self) -> PublicKey {
        self.inner.sender.peer()
    }

    /// Whether the connection still stands, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.sender.is_open() && self.inner.lock().ended.is_none()
    }

    /// Asks the node and waits for its reply: for a payment until it has ended, for anything else as
    /// long as [`ConnectOptions::reply_timeout`]. Cancelling forgets the reply, not the request.
    /// Events are subscribed to with [`AppClient::subscribe`].
    ///
    /// # Errors
    /// [`Error::Refused`] is the node's own answer; [`Error::NoAnswer`], [`Error::Lost`],
    /// [`Error::TooLong`].
    pub async fn request(&self, request: AppRequest) -> Result<AppReply, Error> {
        if request.waits_for_payment() {
            return self.ask(request).await;
        }
        self.request_within(request, self.inner.reply_timeout).await
    }

    /// As [`AppClient::request`], waiting no longer than `limit`.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn request_within(
        &self,
        request: AppRequest,
        limit: Duration,
    ) -> Result<AppReply, Error> {
        timeout(limit, self.ask(request)).await.unwrap_or(Err(Error::NoAnswer(limit)))
    }

    /// Subscribes to the node's report and events. One subscription at a time: an earlier one of
    /// this connection ends.
    ///
    /// # Errors
    /// As [`AppClient::request`], and [`Error::Protocol`] when the first event is not the report.
    pub async fn subscribe(&self) -> Result<Events, Error> {
        let feed = {
            let mut shared = self.inner.lock();
            if let Some(reason) = &shared.ended {
                return Err(Error::Lost(reason.clone()));
            }
            let (feed, events) = Feed::new();
            shared.feed = Some(feed);
            events
        };
        let limit = self.inner.reply_timeout;
        done(self.request_within(AppRequest::Subscribe, limit).await?)?;
        timeout(limit, Events::begin(feed)).await.unwrap_or(Err(Error::NoAnswer(limit)))
    }

    /// As [`AppClient::subscribe`], and before anything else what the journal says after number
    /// `after`, so that an application that remembers the number of the last
    /// [`JournalEvent`](offset_proto::app::JournalEvent) it has dealt with misses none.
    ///
    /// # Errors
    /// As [`AppClient::subscribe`]. The events give [`Error::Refused`] when what follows `after` is
    /// no longer in the journal, or the journal is another one.
    pub async fn subscribe_after(&self, after: u64) -> Result<Events, Error> {
        let mut events = self.subscribe().await?;
        events.replay(self.clone(), after);
        Ok(events)
    }

    /// A page of the journal: what follows number `after`.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn journal(&self, after: u64) -> Result<EventPage, Error> {
        let reply = self.request(AppRequest::Events { after }).await?;
        if let AppReply::Events(page) = reply { Ok(page) } else { Err(unexpected(&reply)) }
    }

    /// The node's report, with all friends. They are asked for page by page, so one that comes or
    /// goes meanwhile may or may not be in it; [`AppClient::subscribe`] gives all at one moment.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn report(&self) -> Result<NodeReport, Error> {
        let mut report = self.report_page(None, u32::MAX).await?;
        while report.more_friends {
            let last = report.friends.last().map(|friend| friend.public_key);
            let page = self.report_page(last, u32::MAX).await?;
            let rises = page.friends.first().map(|friend| friend.public_key) > last;
            if !rises || MAX_REPORTED < report.friends.len() {
                return Err(Error::Protocol("its friends do not end".to_owned()));
            }
            report.more_friends = page.more_friends;
            report.friends.extend(page.friends);
        }
        report.friends.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(report)
    }

    /// The node's report without its friends.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn report_without_friends(&self) -> Result<NodeReport, Error> {
        self.report_page(None, 0).await
    }

    async fn report_page(&self, after: Option<PublicKey>, most: u32) -> Result<NodeReport, Error> {
        let request = AppRequest::Report { friends_after: after, friends_at_most: most };
        let reply = self.request(request).await?;
        if let AppReply::Report(report) = reply { Ok(*report) } else { Err(unexpected(&reply)) }
    }

    /// Changes the node's configuration; durable when this returns.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn config(&self, change: ConfigRequest) -> Result<(), Error> {
        done(self.request(AppRequest::Config(change)).await?)
    }

    /// Pays and waits until the payment has ended, well or not: see the report's status.
    ///
    /// # Errors
    /// As [`AppClient::request`]. After [`Error::Lost`] the same request may be repeated: the
    /// payment id keeps it from being paid twice.
    pub async fn pay(&self, payment: PayRequest) -> Result<PaymentReport, Error> {
        payment_of(self.request(AppRequest::Pay(payment)).await?)
    }

    /// Reserves a payment and waits until its commit can be handed to the seller, which is not sent:
    /// see [`AppClient::payment_commit`]; or until it has failed.
    ///
    /// # Errors
    /// As [`AppClient::pay`].
    pub async fn pay_by_commit(&self, payment: PayRequest) -> Result<PaymentReport, Error> {
        payment_of(self.request(AppRequest::PayByCommit(payment)).await?)
    }

    /// The commit of a payment that was made for it. Whoever has it can hand it to the seller.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn payment_commit(&self, payment_id: PaymentId) -> Result<Commit, Error> {
        let reply = self.request(AppRequest::PaymentCommit { payment_id }).await?;
        if let AppReply::Commit(commit) = reply { Ok(*commit) } else { Err(unexpected(&reply)) }
    }

    /// Takes back a payment that is not committed.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn cancel_payment(&self, payment_id: PaymentId) -> Result<(), Error> {
        done(self.request(AppRequest::CancelPayment { payment_id }).await?)
    }

    /// How a payment stands.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn payment_status(&self, payment_id: PaymentId) -> Result<PaymentReport, Error> {
        payment_of(self.request(AppRequest::PaymentStatus { payment_id }).await?)
    }

    /// Makes and registers an invoice.
    ///
    /// # Errors
    /// As [`AppClient::request`]. After [`Error::Lost`] the same request may be repeated: the nonce
    /// keeps it from making two.
    pub async fn create_invoice(&self, terms: CreateInvoice) -> Result<InvoiceReport, Error> {
        invoice_of(self.request(AppRequest::CreateInvoice(terms)).await?)
    }

    /// Hands the seller's node the buyer's commit; the invoice is paid when this returns. The same
    /// commit may be handed in again and again.
    ///
    /// # Errors
    /// As [`AppClient::request`]; [`Error::Refused`] with the code `NotYet` when it is kept until a
    /// friend is back.
    pub async fn commit_invoice(&self, commit: Commit) -> Result<InvoiceReport, Error> {
        invoice_of(self.request(AppRequest::CommitInvoice(Box::new(commit))).await?)
    }

    /// Ends the hold of a committed invoice, so that it is collected.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn collect_invoice(&self, invoice_id: InvoiceId) -> Result<(), Error> {
        done(self.request(AppRequest::CollectInvoice { invoice_id }).await?)
    }

    /// A page of the node's invoices, in the order in which they were made: only those in this
    /// state if one is given, and those after the end of the last page.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn invoices(
        &self,
        status: Option<InvoiceStatus>,
        after: Option<InvoiceCursor>,
    ) -> Result<InvoicePage, Error> {
        let reply = self.request(AppRequest::Invoices { status, after }).await?;
        if let AppReply::Invoices(page) = reply { Ok(page) } else { Err(unexpected(&reply)) }
    }

    /// Ends an invoice that was not committed, or gives back what is held for it.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn cancel_invoice(&self, invoice_id: InvoiceId) -> Result<(), Error> {
        done(self.request(AppRequest::CancelInvoice { invoice_id }).await?)
    }

    /// Sets off debts along one cycle, and waits until that has ended, well or badly. Asking again
    /// with the same id and contents gives the same clearing.
    ///
    /// # Errors
    /// As [`AppClient::request`]; [`ErrorCode::NothingToClear`] where no cycle is found.
    ///
    /// [`ErrorCode::NothingToClear`]: offset_proto::app::ErrorCode::NothingToClear
    pub async fn clear(&self, clearing: ClearRequest) -> Result<PaymentReport, Error> {
        payment_of(self.request(AppRequest::Clear(clearing)).await?)
    }

    /// How an invoice stands.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn invoice_status(&self, invoice_id: InvoiceId) -> Result<InvoiceReport, Error> {
        invoice_of(self.request(AppRequest::InvoiceStatus { invoice_id }).await?)
    }

    /// Routes from this node, cheapest first; empty when there is none. `currency` `None`: the
    /// node's default.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn routes(
        &self,
        currency: Option<Currency>,
        amount: Credits,
        destination: PublicKey,
        exclude: Vec<Edge>,
    ) -> Result<Vec<MultiRoute>, Error> {
        let request = AppRequest::Routes { currency, amount, destination, exclude };
        let reply = self.request(request).await?;
        if let AppReply::Routes(routes) = reply { Ok(routes) } else { Err(unexpected(&reply)) }
    }

    /// A page of the books: what is durable.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, Error> {
        let reply = self.request(AppRequest::History(query)).await?;
        if let AppReply::History(page) = reply { Ok(page) } else { Err(unexpected(&reply)) }
    }

    /// What is frozen, after this request or from the first.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn pending(&self, after: Option<PendingKey>) -> Result<PendingPage, Error> {
        let reply = self.request(AppRequest::Pending(after)).await?;
        if let AppReply::Pending(page) = reply { Ok(page) } else { Err(unexpected(&reply)) }
    }

    /// What a payment would take now; nothing is paid.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn quote(&self, payment: PayRequest) -> Result<QuoteReport, Error> {
        let reply = self.request(AppRequest::Quote(payment)).await?;
        if let AppReply::Quote(quote) = reply { Ok(*quote) } else { Err(unexpected(&reply)) }
    }

    /// How much the ways to a node carry now, or with `receive` the ways from it. `currency`
    /// `None`: the node's default.
    ///
    /// # Errors
    /// As [`AppClient::request`].
    pub async fn capacity(
        &self,
        currency: Option<Currency>,
        peer: PublicKey,
        receive: bool,
    ) -> Result<Credits, Error> {
        let reply = self.request(AppRequest::Capacity { currency, peer, receive }).await?;
        if let AppReply::Capacity(most) = reply { Ok(most) } else { Err(unexpected(&reply)) }
    }

    /// What a friend signed last, as the node checked it when it came: with it anybody can check on
    /// which balances and limits the friend agreed. See [`LastToken::verify`].
    ///
    /// # Errors
    /// As [`AppClient::request`]; [`Error::Protocol`] when it goes on changing while it is asked for.
    pub async fn last_token(&self, friend: Name) -> Result<LastToken, Error> {
        for _ in 0..LAST_TOKEN_TRIES {
            if let Some(bytes) = self.last_token_bytes(&friend).await? {
                return LastToken::decode(&bytes)
                    .map_err(|error| Error::Protocol(format!("what a friend signed: {error}")));
            }
        }
        Err(Error::Protocol("what the friend signed last changes all the time".to_owned()))
    }

    /// All pages, unless the friend signed something else meanwhile.
    async fn last_token_bytes(&self, friend: &Name) -> Result<Option<Vec<u8>>, Error> {
        let first = self.last_token_page(friend, 0).await?;
        let total = usize::try_from(first.total_bytes).unwrap_or(usize::MAX);
        let mut bytes = first.bytes;
        let mut page = 0;
        while bytes.len() < total {
            page += 1;
            let next = match self.last_token_page(friend, page).await {
                // The new one has fewer pages.
                Err(Error::Refused(error)) if error.code == ErrorCode::Invalid => return Ok(None),
                next => next?,
            };
            if next.token_id != first.token_id || next.bytes.is_empty() {
                return Ok(None);
            }
            bytes.extend(next.bytes);
        }
        Ok(Some(bytes))
    }

    async fn last_token_page(&self, friend: &Name, page: u32) -> Result<TokenPage, Error> {
        let request = AppRequest::LastToken { friend: friend.clone(), page };
        let reply = self.request(request).await?;
        if let AppReply::LastToken(page) = reply { Ok(page) } else { Err(unexpected(&reply)) }
    }

    /// Says goodbye and waits until what was sent has left.
    pub async fn close(self) {
        self.inner.sender.close("done");
        self.inner.sender.closed().await;
    }

    async fn ask(&self, request: AppRequest) -> Result<AppReply, Error> {
        let (reply_to, reply) = oneshot::channel();
        let waiting = {
            let mut shared = self.inner.lock();
            if let Some(reason) = &shared.ended {
                return Err(Error::Lost(reason.clone()));
            }
            let id = AppRequestId(shared.next_id);
            shared.next_id += 1;
            shared.waiting.insert(id, reply_to);
            Waiting { id, shared: &self.inner.shared }
        };
        let message = AppToNode { request_id: waiting.id, request };
        match self.inner.sender.send(message).await {
            Ok(()) => {}
            Err(net::SendError::TooLong) => return Err(Error::TooLong),
            Err(net::SendError::Closed | net::SendError::Full) => return Err(self.lost()),
        }
        match reply.await {
            Ok(result) => Ok(result?),
            Err(_ended) => Err(self.lost()),
        }
    }

    fn lost(&self) -> Error {
        let reason = self.inner.lock().ended.clone();
        Error::Lost(reason.unwrap_or_else(|| "it was closed".to_owned()))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sender.close("done");
        self.reader.abort();
        // A subscription that outlives its client hears of the end.
        self.lock().end("it was closed");
    }
}

impl Shared {
    fn end(&mut self, reason: &str) {
        self.ended.get_or_insert_with(|| reason.to_owned());
        self.waiting.clear();
        if let Some(feed) = self.feed.take() {
            feed.end(reason);
        }
    }

    fn handle(&mut self, message: NodeToApp) {
        match message {
            NodeToApp::Response { request_id, result } => match self.waiting.remove(&request_id) {
                // The asker may have gone just now.
                Some(reply_to) => drop(reply_to.send(result)),
                None => log::trace!("a reply to request {} that nobody awaits", request_id.0),
            },
            NodeToApp::Event(event) => {
                if let Some(feed) = self.feed.take() {
                    self.feed = feed.push(event);
                }
            }
        }
    }
}

/// Forgets a request that is no longer waited for.
struct Waiting<'a> {
    id: AppRequestId,
    shared: &'a Mutex<Shared>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(self.shared).waiting.remove(&self.id);
    }
}

async fn read(mut receiver: net::Receiver<NodeToApp>, shared: Arc<Mutex<Shared>>) {
    loop {
        match receiver.recv().await {
            Ok(message) => lock(&shared).handle(message),
            Err(error) => {
                lock(&shared).end(&error.to_string());
                return;
            }
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn done(reply: AppReply) -> Result<(), Error> {
    if matches!(reply, AppReply::Done) { Ok(()) } else { Err(unexpected(&reply)) }
}

fn payment_of(reply: AppReply) -> Result<PaymentReport, Error> {
    if let AppReply::Payment(payment) = reply { Ok(*payment) } else { Err(unexpected(&reply)) }
}

fn invoice_of(reply: AppReply) -> Result<InvoiceReport, Error> {
    if let AppReply::Invoice(invoice) = reply { Ok(*invoice) } else { Err(unexpected(&reply)) }
}

fn unexpected(reply: &AppReply) -> Error {
    let kind = match reply {
        AppReply::Done => "done",
        AppReply::Report(_) => "a report",
        AppReply::Routes(_) => "routes",
        AppReply::LastToken(_) => "what a friend signed",
        AppReply::Payment(_) => "a payment",
        AppReply::Invoice(_) => "an invoice",
        AppReply::History(_) => "a page of the books",
        AppReply::Pending(_) => "what is frozen",
        AppReply::Events(_) => "events",
        AppReply::Invoices(_) => "a list of invoices",
        AppReply::Quote(_) => "a quote",
        AppReply::Capacity(_) => "a capacity",
        AppReply::Commit(_) => "a commit",
    };
    Error::Protocol(format!("it answered {kind}, which was not asked for"))
}

/// How often what a friend signed is asked for while the channel goes on.
const LAST_TOKEN_TRIES: usize = 10;
/// More friends than any node has.
const MAX_REPORTED: usize = 1 << 20;
/// Between two attempts to reach a node that does not listen yet.
const RETRY_EVERY: Duration = Duration::from_millis(50);
