//! Requests that were passed on in a time that this node has lost: how they ended is kept here, or
//! is asked of the friend that their own route names next (protocol, section 8, *endings*).

use offset_proto::Timestamp;

use crate::{
    funder::{Funder, Place},
    state::Pending,
};

impl Funder {
    /// An incoming request without a partner: it waits until its ending is known.
    pub(crate) fn find_ending(&mut self, _now: Timestamp, at: &Place, row: &Pending) {
        log::debug!(
            "the request {:?} of {:?} waits for {:?}",
            at.id,
            at.friend,
            row.request.route.first()
        );
    }
}
