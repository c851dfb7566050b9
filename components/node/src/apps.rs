//! Applications as the core sees them: where their replies and events go.

mod connection;
pub(crate) mod pace;
#[cfg(test)]
mod tests;
mod trusted;

use std::collections::{BTreeMap, BTreeSet};

use offset_funder::api::AppId;
use offset_net::Sender;
use offset_proto::{
    app::{AppError, AppEvent, AppReply, AppRequestId, JournalEvent, NodeToApp},
    report::{FRIENDS_PAGE_BYTES, FriendReport, MAX_FRIENDS, NodeReport, ReportMutation},
};
use tokio::sync::mpsc;

pub(crate) use self::connection::{House, serve};
pub(crate) use self::trusted::{Directory, Trusted};
use crate::{Metrics, limits};

/// The way to one application.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// Emptied by the task of the connection, as fast as the application reads. Closing it makes the
    /// task say goodbye.
    pub(crate) queue: mpsc::Sender<NodeToApp>,
    /// For closing the connection of one that reads too slowly.
    pub(crate) connection: Sender<NodeToApp>,
}

impl Outlet {
    /// How many messages the queue must hold: every reply, and the events.
    pub(crate) const QUEUE: usize = limits::APP_REQUESTS + limits::APP_EVENTS;
}

/// What subscribed applications are told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A change of the report, complete.
    Mutation(ReportMutation),
    /// A payment or invoice moved on.
    Journal(JournalEvent),
}

/// All connections of applications.
#[derive(Debug)]
pub(crate) struct Apps {
    metrics: Metrics,
    apps: BTreeMap<AppId, App>,
    /// Of the last mutation.
    sequence: u64,
}

#[derive(Debug)]
struct App {
    outlet: Outlet,
    /// Requests to subscribe that wait for the report.
    subscribing: BTreeSet<AppRequestId>,
    subscribed: bool,
}

impl Apps {
    /// None yet.
    pub(crate) const fn new(metrics: Metrics) -> Self {
        Self { metrics, apps: BTreeMap::new(), sequence: 0 }
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.apps.len()
    }

    /// An application is there.
    pub(crate) fn open(&mut self, app: AppId, outlet: Outlet) {
        self.apps.insert(app, App { outlet, subscribing: BTreeSet::new(), subscribed: false });
    }

    /// An application is gone. Whether with it the last went that observes or is about to.
    #[must_use]
    pub(crate) fn remove(&mut self, app: AppId) -> bool {
        let observes = |app: &App| app.subscribed || !app.subscribing.is_empty();
        self.apps.remove(&app).is_some_and(|app| observes(&app))
            && !self.apps.values().any(observes)
    }

    /// The next report for this request begins a subscription.
    pub(crate) fn subscribe(&mut self, app: AppId, id: AppRequestId) {
        if let Some(app) = self.apps.get_mut(&app) {
            app.subscribing.insert(id);
        }
    }

    /// Whether this request is to begin a subscription.
    pub(crate) fn is_subscribing(&self, app: AppId, id: AppRequestId) -> bool {
        self.apps.get(&app).is_some_and(|app| app.subscribing.contains(&id))
    }

    /// Answers a request.
    pub(crate) fn reply(
        &self,
        app: AppId,
        request_id: AppRequestId,
        result: Result<AppReply, AppError>,
    ) {
        if let Some(app) = self.apps.get(&app) {
            app.put(NodeToApp::Response { request_id, result });
        }
    }

    /// Answers a request to subscribe, and begins: with the report, and as many pages of friends
    /// as it takes.
    pub(crate) fn begin(&mut self, app: AppId, request_id: AppRequestId, mut report: NodeReport) {
        let mut pages = pages(std::mem::take(&mut report.friends)).into_iter();
        report.friends = pages.next().unwrap_or_default();
        report.more_friends = pages.len() != 0;
        let sequence = self.sequence;
        if let Some(app) = self.apps.get_mut(&app) {
            app.subscribing.remove(&request_id);
            app.subscribed = true;
            app.put(NodeToApp::Response { request_id, result: Ok(AppReply::Done) });
            let report = Box::new(report);
            app.put_event(&self.metrics, NodeToApp::Event(AppEvent::Report { sequence, report }));
            while let Some(friends) = pages.next() {
                let more = pages.len() != 0;
                let event = AppEvent::Friends { friends, more };
                app.put_event(&self.metrics, NodeToApp::Event(event));
            }
        }
    }

    /// Tells everyone who subscribed.
    pub(crate) fn tell(&mut self, told: &Told) {
        let event = match told {
            Told::Mutation(mutation) => {
                self.sequence += 1;
                let mutation = Box::new(mutation.clone());
                AppEvent::Mutation { sequence: self.sequence, mutation }
            }
            Told::Journal(event) => AppEvent::Journal(event.clone()),
        };
        for app in self.apps.values().filter(|app| app.subscribed) {
            app.put_event(&self.metrics, NodeToApp::Event(event.clone()));
        }
    }
}

/// Friends in pages that fit into a message each.
fn pages(friends: Vec<FriendReport>) -> Vec<Vec<FriendReport>> {
    let mut pages: Vec<Vec<FriendReport>> = Vec::new();
    let mut size = 0;
    for friend in friends {
        size += friend.size();
        match pages.last_mut().filter(|page| size <= FRIENDS_PAGE_BYTES && page.len() < MAX_FRIENDS)
        {
            Some(page) => page.push(friend),
            None => {
                size = friend.size();
                pages.push(vec![friend]);
            }
        }
    }
    pages
}

impl App {
    /// There is always room for replies: one for each request that is let in.
    fn put(&self, message: NodeToApp) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.outlet.queue.try_send(message) {
            self.outlet.connection.close("too much waits to be read");
        }
    }

    fn put_event(&self, metrics: &Metrics, event: NodeToApp) {
        if self.outlet.queue.capacity() <= limits::APP_REQUESTS {
            metrics.counts().slow_apps.raise();
            log::warn!("an application reads its events too slowly and is disconnected");
            self.outlet.connection.close("events are read too slowly");
            return;
        }
        self.put(event);
    }
}
