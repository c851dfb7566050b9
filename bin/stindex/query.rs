//! `stindex query`: asks an index server for routes, as a node would.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use clap::Parser;
use offset_crypto::{Identity, PublicKey, SystemRng};
use offset_net::{Connection, NetConfig, dial};
use offset_proto::{
    Credits, Currency,
    file::IndexTicket,
    index::{
        ClientToIndex, Edge, IndexToClient, MAX_EXCLUDED_EDGES, MultiRoute, RouteQuery,
        RouteRequestId,
    },
    printable,
};
use offset_secure_channel::ChannelIdentity;
use serde_json::json;
use tokio::time::timeout;

use super::picture;
use crate::manners::{
    Answer, Usage,
    cli::Arguments,
    files::{Access, OutputFile},
    inputs,
};

/// Asks an index server for the cheapest ways from one node to another, as a node would.
#[derive(Debug, Parser)]
#[command(name = "stindex query", version, after_help = EXAMPLES)]
pub(super) struct QueryArguments {
    /// Ticket with which nodes find the index server.
    #[arg(short = 'T', long, value_name = "FILE")]
    ticket: PathBuf,
    /// Public key of the node that would pay.
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true)]
    from: PublicKey,
    /// Public key of the node that would be paid.
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true)]
    dest: PublicKey,
    /// How much is to arrive, in the smallest unit of the currency.
    #[arg(short, long, allow_negative_numbers = true)]
    amount: Credits,
    /// In which currency; the one that nodes begin with if not given.
    #[arg(short, long)]
    currency: Option<Currency>,
    /// Over how many routes at once, at most 16; 8 if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    max_parts: Option<u8>,
    /// Not from this node to that one: two public keys with a colon between. May be repeated.
    #[arg(short = 'x', long, value_name = "KEY:KEY", allow_hyphen_values = true, value_parser = edge)]
    exclude: Vec<Edge>,
    /// Draw the ways into this file (SVG), which must not exist.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

impl Arguments for QueryArguments {
    fn json(&self) -> bool {
        self.json
    }
}

/// Asks, and shows what came.
///
/// # Errors
/// When the ticket is wrong, the server cannot be reached, or it refuses to search.
pub(super) fn run(arguments: QueryArguments) -> anyhow::Result<Answer> {
    if MAX_EXCLUDED_EDGES < arguments.exclude.len() {
        return Err(Usage(format!("--exclude: at most {MAX_EXCLUDED_EDGES} times")).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(ask(arguments))
}

async fn ask(arguments: QueryArguments) -> anyhow::Result<Answer> {
    let picture = arguments.svg.as_deref();
    let picture =
        picture.map(|path| OutputFile::prepare(path, Access::Public, false)).transpose()?;
    let IndexTicket(server) = inputs::read(&arguments.ticket)?;
    let query = RouteQuery {
        currency: arguments.currency.unwrap_or_else(Currency::fallback),
        amount: arguments.amount,
        source: arguments.from,
        destination: arguments.dest,
        exclude: arguments.exclude,
        max_parts: arguments.max_parts.unwrap_or(USUAL_PARTS),
    };
    // Whoever asks says nothing of lines, so any key will do.
    let identity = Arc::new(ChannelIdentity::new(&Identity::random(&mut SystemRng)));
    let mut connection: Connection<ClientToIndex, IndexToClient> =
        dial(&identity, &server, &NetConfig::default()).await.with_context(|| {
            format!("cannot reach the index server at {}; is it running?", server.address)
        })?;
    let request_id = RouteRequestId(1);
    let request = ClientToIndex::RequestRoutes { request_id, query };
    connection.send(request).await.context("the index server hung up")?;
    let answer = timeout(PATIENCE, connection.recv())
        .await
        .context("the index server does not answer; try again later")?
        .context("the index server hung up")?;
    connection.close("this is all");
    match answer {
        IndexToClient::Routes { multi_routes, cut_short, .. } => {
            if let Some(file) = picture {
                file.write(picture::draw(&multi_routes).as_bytes())?;
            }
            Ok(shown(&multi_routes, cut_short))
        }
        IndexToClient::Refused { reason, .. } => {
            bail!("the index server does not search: {}", printable(reason.as_str()))
        }
        IndexToClient::Behind { .. }
        | IndexToClient::SnapshotWanted
        | IndexToClient::Cycles { .. } => bail!("the index server answers what was not asked"),
    }
}

fn shown(ways: &[MultiRoute], cut_short: bool) -> Answer {
    let mut lines = Vec::new();
    if ways.is_empty() {
        lines.push("There is no way.".to_owned());
    }
    for (number, way) in (1..).zip(ways) {
        let age = Duration::from_millis(way.age_ms).as_secs();
        lines.push(format!("Way {number}: fees {}, known {age} s ago", way.total_fee));
        for route in &way.routes {
            lines.push(format!("  {} with fee {}:", route.amount, route.fee));
            lines.extend(route.keys.iter().map(|key| format!("    {key}")));
        }
    }
    if cut_short {
        lines.push("The server stopped before it had looked everywhere.".to_owned());
    }
    let ways: Vec<_> = ways
        .iter()
        .map(|way| {
            let routes = way.routes.iter().map(|route| {
                json!({
                    "keys": route.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "amount": route.amount.to_string(),
                    "fee": route.fee.to_string(),
                })
            });
            json!({
                "fee": way.total_fee.to_string(),
                "age_ms": way.age_ms,
                "routes": routes.collect::<Vec<_>>(),
            })
        })
        .collect();
    Answer::new(lines.join("\n"), json!({ "ways": ways, "cut_short": cut_short }))
}

/// Two keys with a colon between.
fn edge(text: &str) -> Result<Edge, String> {
    let (from, to) = text.split_once(':').ok_or("write two public keys with a colon between")?;
    let key = |text: &str| text.parse::<PublicKey>().map_err(|error| error.to_string());
    Ok(Edge { from: key(from)?, to: key(to)? })
}

/// Over how many routes nodes ask to pay when nothing is said.
const USUAL_PARTS: u8 = 8;
/// An index server answers or refuses within a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Example:
  stindex query --ticket index.ticket --from KEY --dest KEY --amount 100";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        QueryArguments::command().debug_assert();
    }

    #[test]
    fn an_edge_is_two_keys() {
        let [one, other] = [(); 2].map(|()| Identity::random(&mut SystemRng).public_key());
        assert_eq!(edge(&format!("{one}:{other}")), Ok(Edge { from: one, to: other }));
        for wrong in ["", ":", &one.to_string(), &format!("{one}:"), &format!("{one}:x")] {
            assert!(edge(wrong).is_err(), "{wrong}");
        }
    }
}
