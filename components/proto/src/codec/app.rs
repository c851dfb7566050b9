//! `app.capnp`: between an application and its node. Requests are in [`request`], what a node
//! answers and tells in [`reply`], what belongs to invoices in [`invoice`].

mod invoice;
mod reply;
mod request;

use super::{Decoded, parse, wire};
use crate::{
    Currency,
    app::{AppToNode, NodeToApp},
    schema::app_capnp::{app_to_node, node_to_app},
};

wire!(AppToNode, App, app_to_node, request::words, request::set_root, request::root);
wire!(NodeToApp, App, node_to_app, reply::words, reply::set_root, reply::root);

/// A currency whose absence means the node's default.
fn default_currency(
    present: bool,
    text: capnp::Result<capnp::text::Reader<'_>>,
) -> Decoded<Option<Currency>> {
    if present { parse("currency", text).map(Some) } else { Ok(None) }
}
