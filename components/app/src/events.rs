//! A subscription: events in order, and the report that they keep up to date.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, future::BoxFuture};
use offset_proto::{
    app::{AppEvent, EventPage, JournalEvent},
    report::NodeReport,
};
use tokio::sync::mpsc;

use crate::{AppClient, Error};

/// The events of a subscription, a [`Stream`] that ends after its first error. The report with which
/// it begins is not among them: it is [`Events::report`] at once. Each mutation has been applied to [`Events::report`] when it is given out.
#[derive(Debug)]
pub struct Events {
    feed: mpsc::Receiver<Result<AppEvent, Error>>,
    report: NodeReport,
    sequence: u64,
    ended: bool,
    /// What comes before the feed.
    replay: Option<Replay>,
}

/// What the journal said between the last subscription and this one.
struct Replay {
    client: AppClient,
    /// What was asked for so far.
    asked: u64,
    /// What was already there when the subscription began; what is newer comes with it.
    last: u64,
    waiting: VecDeque<JournalEvent>,
    page: Option<BoxFuture<'static, Result<EventPage, Error>>>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replay({}..{})", self.asked, self.last)
    }
}

impl Replay {
    /// The next entry; `None` when all were given.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<AppEvent, Error>>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(AppEvent::Journal(event))));
            }
            let (asked, last) = (self.asked, self.last);
            if self.page.is_none() && asked == last {
                return Poll::Ready(None);
            }
            let client = self.client.clone();
            let page = self
                .page
                .get_or_insert_with(|| Box::pin(async move { client.journal(asked).await }));
            let page = ready!(page.as_mut().poll(cx));
            self.page = None;
            let page = match page {
                Ok(page) => page,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            if page.up_to <= asked {
                let reason = "its journal does not go on".to_owned();
                return Poll::Ready(Some(Err(Error::Protocol(reason))));
            }
            self.asked = page.up_to.min(last);
            self.waiting.extend(page.events.into_iter().filter(|event| event.number <= last));
        }
    }
}

impl Events {
    /// The node's report as of the last event.
    #[must_use]
    pub const fn report(&self) -> &NodeReport {
        &self.report
    }

    /// The next event. Safe to cancel.
    ///
    /// # Errors
    /// [`Error::Lost`] when the connection ends, [`Error::TooSlow`] when too many events waited
    /// here, [`Error::Protocol`] when the node skipped one.
    pub async fn next(&mut self) -> Result<AppEvent, Error> {
        let event = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await;
        event.unwrap_or_else(|| Err(Error::Lost("it ended before".to_owned())))
    }

    /// Waits for the report with which a subscription begins.
    pub(crate) async fn begin(
        mut feed: mpsc::Receiver<Result<AppEvent, Error>>,
    ) -> Result<Self, Error> {
        let AppEvent::Report { sequence, report } = next(&mut feed).await? else {
            return Err(Error::Protocol("its events do not begin with a report".to_owned()));
        };
        let mut report = *report;
        while report.more_friends {
            let AppEvent::Friends { friends, more } = next(&mut feed).await? else {
                return Err(Error::Protocol("its report was not complete".to_owned()));
            };
            report.friends.extend(friends);
            report.more_friends = more;
        }
        report.friends.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { feed, report, sequence, ended: false, replay: None })
    }

    /// Gives what the journal says after this number before anything else.
    pub(crate) fn replay(&mut self, client: AppClient, after: u64) {
        let (last, waiting) = (self.report.last_event, VecDeque::new());
        // A number that the journal has not reached is the node's to refuse.
        if after != last {
            let last = last.max(after.saturating_add(1));
            self.replay = Some(Replay { client, asked: after, last, waiting, page: None });
        }
    }

    fn follow(&mut self, event: &AppEvent) -> Result<(), Error> {
        match event {
            AppEvent::Report { .. } | AppEvent::Friends { .. } => {
                return Err(Error::Protocol("it began its report again".to_owned()));
            }
            AppEvent::Mutation { sequence, mutation } => {
                if self.sequence.checked_add(1) != Some(*sequence) {
                    return Err(Error::Protocol(format!(
                        "change {sequence} of its report came after {}",
                        self.sequence
                    )));
                }
                self.sequence = *sequence;
                self.report.apply(mutation.as_ref().clone());
            }
            AppEvent::Journal(event) => {
                self.report.last_event = self.report.last_event.max(event.number);
            }
        }
        Ok(())
    }
}

impl Stream for Events {
    type Item = Result<AppEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let replayed = match &mut this.replay {
            Some(replay) => ready!(replay.poll(cx)),
            None => None,
        };
        let event = match replayed {
            Some(event) => event,
            None => {
                this.replay = None;
                ready!(this.feed.poll_recv(cx)).unwrap_or_else(|| Err(ended()))
            }
        };
        let result = event.and_then(|event| this.follow(&event).map(|()| event));
        this.ended = result.is_err();
        Poll::Ready(Some(result))
    }
}

async fn next(feed: &mut mpsc::Receiver<Result<AppEvent, Error>>) -> Result<AppEvent, Error> {
    feed.recv().await.unwrap_or_else(|| Err(ended()))
}

/// Where the reading task puts events.
#[derive(Debug)]
pub(crate) struct Feed {
    events: mpsc::Sender<Result<AppEvent, Error>>,
}

impl Feed {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Result<AppEvent, Error>>) {
        // One place more, for the error that ends it.
        let (events, receiver) = mpsc::channel(MAX_WAITING_EVENTS + 1);
        (Self { events }, receiver)
    }

    /// Gives itself back while more can follow.
    pub(crate) fn push(self, event: AppEvent) -> Option<Self> {
        if self.events.capacity() <= 1 {
            self.send_last(Error::TooSlow);
            return None;
        }
        self.events.try_send(Ok(event)).ok().map(|()| self)
    }

    pub(crate) fn end(self, reason: &str) {
        self.send_last(Error::Lost(reason.to_owned()));
    }

    fn send_last(self, error: Error) {
        // Nobody takes events any more if this fails.
        drop(self.events.try_send(Err(error)));
    }
}

fn ended() -> Error {
    Error::Lost("another subscription took its place".to_owned())
}

/// The most events that wait for the application.
const MAX_WAITING_EVENTS: usize = 4_096;

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};
    use offset_proto::{Currency, report::ReportMutation};

    use super::*;

    fn report() -> AppEvent {
        let report = NodeReport {
            public_key: Identity::random(&mut SeededRng::new(1)).public_key(),
            default_currency: Currency::fallback(),
            accepts_spontaneous: true,
            recovering: false,
            recoverable: Vec::new(),
            relays: Vec::new(),
            index_servers: Vec::new(),
            friends: Vec::new(),
            more_friends: false,
            decimals: Default::default(),
            last_event: 0,
        };
        AppEvent::Report { sequence: 7, report: Box::new(report) }
    }

    fn mutation(sequence: u64) -> AppEvent {
        let mutation = Box::new(ReportMutation::SetAcceptsSpontaneous(sequence % 2 == 1));
        AppEvent::Mutation { sequence, mutation }
    }

    #[tokio::test]
    async fn mutations_keep_the_report_and_a_gap_ends_it() {
        let (feed, receiver) = Feed::new();
        let feed = [report(), mutation(8), mutation(9), mutation(11)]
            .into_iter()
            .try_fold(feed, Feed::push)
            .expect("room");
        let mut events = Events::begin(receiver).await.expect("begins with the report");
        assert_eq!(events.next().await.expect("8"), mutation(8));
        assert!(!events.report().accepts_spontaneous);
        assert_eq!(events.next().await.expect("9"), mutation(9));
        assert!(events.report().accepts_spontaneous);
        assert!(matches!(events.next().await, Err(Error::Protocol(_))));
        assert!(matches!(events.next().await, Err(Error::Lost(_))));
        drop(feed);
    }

    #[tokio::test]
    async fn begins_with_a_report_or_not_at_all() {
        let (feed, receiver) = Feed::new();
        let _feed = feed.push(mutation(1));
        assert!(matches!(Events::begin(receiver).await, Err(Error::Protocol(_))));
    }

    #[tokio::test]
    async fn a_slow_reader_is_told() {
        let (feed, receiver) = Feed::new();
        let mut feed = feed.push(report());
        let mut sequence = 8;
        while let Some(open) = feed {
            feed = open.push(mutation(sequence));
            sequence += 1;
        }
        let mut events = Events::begin(receiver).await.expect("begins");
        let error = loop {
            if let Err(error) = events.next().await {
                break error;
            }
        };
        assert!(matches!(error, Error::TooSlow));
    }
}
