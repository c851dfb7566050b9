//! A subscription: events in order, and the report that they keep up to date.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::Stream;
use offset_proto::{app::AppEvent, report::NodeReport};
use tokio::sync::mpsc;

use crate::Error;

/// The events of a subscription, a [`Stream`] that ends after its first error. Each mutation has
/// been applied to [`Events::report`] when it is given out.
#[derive(Debug)]
pub struct Events {
    feed: mpsc::Receiver<Result<AppEvent, Error>>,
    report: NodeReport,
    sequence: u64,
    ended: bool,
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
        match feed.recv().await.unwrap_or_else(|| Err(ended()))? {
            AppEvent::Report { sequence, report } => {
                Ok(Self { feed, report: *report, sequence, ended: false })
            }
            AppEvent::Mutation { .. } | AppEvent::Payment(_) | AppEvent::Invoice(_) => {
                Err(Error::Protocol("its events do not begin with a report".to_owned()))
            }
        }
    }

    fn follow(&mut self, event: &AppEvent) -> Result<(), Error> {
        match event {
            AppEvent::Report { sequence, report } => {
                self.sequence = *sequence;
                self.report.clone_from(report);
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
            AppEvent::Payment(_) | AppEvent::Invoice(_) => {}
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
        let event = ready!(this.feed.poll_recv(cx)).unwrap_or_else(|| Err(ended()));
        let result = event.and_then(|event| this.follow(&event).map(|()| event));
        this.ended = result.is_err();
        Poll::Ready(Some(result))
    }
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
            relays: Vec::new(),
            index_servers: Vec::new(),
            friends: Vec::new(),
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
