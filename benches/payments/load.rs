//! Applications that pay: invoices are made, paid, and their receipts verified.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, future::try_join_all, stream::FuturesUnordered};
use offset::{
    manners::{Access, files},
    stnet::network::{Network, Node},
};
use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, Nonce, PaymentId, SystemRng};
use offset_proto::{
    Credits, ServerAddress, Text,
    app::{AppLimits, CreateInvoice, Hold, PayRequest, PaymentStatus, PaymentTarget, Permissions},
    file::{AppTicket, NodeTicket, OffsetFile as _},
    payment::{Invoice, Receipt},
};

/// Who pays whom.
pub(crate) struct Load {
    buyers: Vec<AppClient>,
    sellers: Vec<AppClient>,
    /// Whether keys are paid, without invoices.
    spontaneous: bool,
}

/// How payments come.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// So many at a time: the next begins when one has ended.
    InFlight(usize),
    /// So many a second, whether or not earlier ones have ended.
    PerSecond(f64),
}

/// What came of it.
pub(crate) struct Ran {
    /// How long each payment took, sorted.
    pub(crate) times: Vec<Duration>,
    /// All of them together.
    pub(crate) took: Duration,
}

impl Load {
    /// Connects as applications whose tickets allow any pace, over enough connections for so many
    /// payments under way.
    pub(crate) async fn connect(
        network: &Network,
        most_in_flight: usize,
        spontaneous: bool,
    ) -> anyhow::Result<Self> {
        let [buyer, .., seller] = network.nodes.as_slice() else { bail!("too few nodes") };
        let connections = most_in_flight.div_ceil(IN_FLIGHT_OF_A_CONNECTION);
        let (buyers, sellers) =
            (applications(buyer, connections).await?, applications(seller, connections).await?);
        Ok(Self { buyers, sellers, spontaneous })
    }

    /// Pays so long; a payment that fails ends the benchmark.
    pub(crate) async fn run(&self, pace: Pace, lasts: Duration) -> anyhow::Result<Ran> {
        let began = Instant::now();
        let (mut times, mut under_way) = (Vec::new(), FuturesUnordered::new());
        let mut ordered = 0;
        loop {
            let more = began.elapsed() < lasts;
            let (due, next) = match pace {
                Pace::InFlight(most) => (more && under_way.len() < most, None),
                Pace::PerSecond(rate) => {
                    let next =
                        began + Duration::from_secs_f64(f64::from(ordered_u32(ordered)) / rate);
                    (more && next <= Instant::now(), more.then_some(next))
                }
            };
            if due {
                // The time counts from when it was due.
                under_way.push(self.pay(ordered, next.unwrap_or_else(Instant::now)));
                ordered += 1;
                continue;
            }
            if under_way.is_empty() && next.is_none() {
                break;
            }
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(time) = under_way.next() => times.push(time?),
                () = wait => {}
            }
        }
        times.sort();
        Ok(Ran { times, took: began.elapsed() })
    }

    /// An invoice, its payment, and the look at the receipt. Gives how long it took since `began`.
    async fn pay(&self, number: usize, began: Instant) -> anyhow::Result<Duration> {
        let buyer = &self.buyers[number % self.buyers.len()];
        if self.spontaneous {
            let destination = self.sellers[0].node();
            let target = PaymentTarget::Spontaneous { destination, amount: PRICE, currency: None };
            receipt(&buyer.pay(request(target)).await?.status)?;
        } else {
            let invoice = self.invoice(number).await?;
            let target = PaymentTarget::Invoice(Box::new(invoice.clone()));
            let status = buyer.pay(request(target)).await?.status;
            receipt(&status)?.verify(&invoice)?;
        }
        Ok(began.elapsed())
    }

    /// Payments one after the other: how long it takes from the order until the commit is in the
    /// buyer's hand, and until the receipt is when the node commits by itself. Both sorted.
    pub(crate) async fn single(&self, count: usize) -> anyhow::Result<[Vec<Duration>; 2]> {
        let (mut commits, mut receipts) = (Vec::new(), Vec::new());
        let buyer = &self.buyers[0];
        for number in 0..count {
            let invoice = self.invoice(number).await?;
            let order = request(PaymentTarget::Invoice(Box::new(invoice)));
            let (id, began) = (order.payment_id, Instant::now());
            buyer.pay_by_commit(order).await?;
            let commit = buyer.payment_commit(id).await?;
            commits.push(began.elapsed());
            self.sellers[0].commit_invoice(commit).await?;

            let invoice = self.invoice(number).await?;
            let order = request(PaymentTarget::Invoice(Box::new(invoice.clone())));
            let began = Instant::now();
            let status = buyer.pay(order).await?.status;
            receipt(&status)?.verify(&invoice)?;
            receipts.push(began.elapsed());
        }
        commits.sort();
        receipts.sort();
        Ok([commits, receipts])
    }

    async fn invoice(&self, number: usize) -> anyhow::Result<Invoice> {
        let seller = &self.sellers[number % self.sellers.len()];
        let terms = CreateInvoice {
            nonce: Nonce::random(&mut SystemRng),
            currency: None,
            amount: PRICE,
            description: Text::cut("one of many"),
            expires_in_ms: None,
            hold: Hold::None,
        };
        Ok(seller.create_invoice(terms).await?.invoice)
    }
}

fn request(target: PaymentTarget) -> PayRequest {
    PayRequest {
        payment_id: PaymentId::random(&mut SystemRng),
        target,
        max_fee: None,
        deadline_ms: None,
        note: Text::cut(""),
        max_parts: None,
    }
}

fn receipt(status: &PaymentStatus) -> anyhow::Result<&Receipt> {
    let PaymentStatus::Succeeded { receipt, .. } = status else {
        bail!("a payment did not succeed: {status:?}");
    };
    Ok(receipt)
}

async fn applications(node: &Node, connections: usize) -> anyhow::Result<Vec<AppClient>> {
    let identity = Identity::random(&mut SystemRng);
    let all = Permissions { routes: true, buyer: true, seller: true, config: true };
    let limits = AppLimits { commands_per_second: Some(u32::MAX), ..AppLimits::default() };
    let ticket = AppTicket { public_key: identity.public_key(), permissions: all, limits };
    let directory = node.ticket.parent().context("a ticket is in a directory")?;
    let file = directory.join("trusted/load.ticket");
    files::write(&file, Access::Public, true, &ticket.to_toml())?;
    let text = std::fs::read_to_string(&node.ticket)?;
    let address: ServerAddress = NodeTicket::from_toml(&text)?.0;
    let options = ConnectOptions::retrying();
    let connect = || AppClient::connect(&identity, &address, &options);
    // The node looks at its tickets now and then, and does not know this one until then.
    let until = Instant::now() + TICKET_SEEN_AFTER;
    while connect().await.is_err() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    try_join_all((0..connections).map(|_| connect())).await.map_err(Into::into)
}

fn ordered_u32(ordered: usize) -> u32 {
    u32::try_from(ordered).unwrap_or(u32::MAX)
}

const TICKET_SEEN_AFTER: Duration = Duration::from_secs(5);
const PRICE: Credits = Credits(1);
/// A node reads no more requests of a connection while it has so many to answer.
const IN_FLIGHT_OF_A_CONNECTION: usize = 1_000;
