//! `stnet demo`: the bicycle of the first chapter of the tutorial.
//!
//! Bob owes Alice 50 credits, and Alice owes Charli 50. Charli buys Bob's bicycle for 50 by asking
//! Alice to forget both debts.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use offset_crypto::{PaymentId, SystemRng};
use offset_proto::{
    Credits, Currency,
    app::{PayRequest, PaymentTarget},
    payment::Invoice,
};
use serde_json::{Value, json};

use super::{network::Network, topology::Topology};
use crate::{
    manners::{Answer, answer::say, daemon::signals},
    stctrl::{funds::succeeded, info::balance},
    stregister::unregistered,
};

/// Starts the network, tells the story and stops.
pub(super) fn run() -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let topology = topology()?;
        let stop = signals().context("cannot handle signals")?;
        tokio::select! {
            answer = play(directory.path(), &topology) => answer,
            () = stop => bail!("stopped before the end"),
        }
    })
}

async fn play(directory: &std::path::Path, topology: &Topology) -> anyhow::Result<Answer> {
    say("Starting a relay, two federated index servers and the nodes of Bob, Alice and Charli...");
    let network = Network::start(directory, topology).await?;
    let told = tell(&network).await;
    network.stop().await;
    told
}

async fn tell(network: &Network) -> anyhow::Result<Answer> {
    let [bob, _, charli] = network.nodes.as_slice() else { bail!("three nodes play this story") };
    let before = balances(network).await?;
    let invoice = bicycle(bob.client.node())?;
    let payment = charli
        .client
        .pay(PayRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            target: PaymentTarget::Invoice(Box::new(invoice.clone())),
            max_fee: None,
            deadline_ms: None,
            note: "Bob's bicycle".parse()?,
            max_parts: None,
        })
        .await?;
    let (receipt, fee) = succeeded(&payment, 0)?;
    receipt.verify(&invoice).context("the receipt does not fit")?;
    let after = settled(network).await?;
    let json = json!({
        "before": to_json(&before),
        "after": to_json(&after),
        "amount": PRICE.to_string(),
        "fee": fee.to_string(),
        "receipt_valid": true,
    });
    Ok(Answer::new(
        format!(
            "{PICTURE}\n\nBalances before:\n{}\n\
             Charli buys Bob's bicycle for {PRICE} credits, through Alice.\n\
             Payment successful!\nFees: {fee}\nReceipt is valid!\n\nBalances after:\n{}",
            to_text(&before),
            to_text(&after).trim_end()
        ),
        json,
    ))
}

fn bicycle(seller: offset_crypto::PublicKey) -> anyhow::Result<Invoice> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(unregistered(seller, PRICE, Currency::fallback(), "a bicycle".parse()?, now))
}

/// Each node's name and balance.
type Balances = Vec<(String, i128)>;

async fn balances(network: &Network) -> anyhow::Result<Balances> {
    let mut balances = Vec::new();
    for node in &network.nodes {
        let report = node.client.report().await?;
        let sum = balance(&report.friends, &report.default_currency)?;
        balances.push((node.name.to_string(), sum.get()));
    }
    Ok(balances)
}

/// The balances when the last hop has settled: the buyer has its receipt a moment before.
async fn settled(network: &Network) -> anyhow::Result<Balances> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let balances = balances(network).await?;
        let all_even = balances.iter().all(|(_, balance)| *balance == 0);
        if all_even || deadline < tokio::time::Instant::now() {
            return Ok(balances);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn to_text(balances: &Balances) -> String {
    balances.iter().map(|(name, balance)| format!("  {name:<7}{balance:>4}\n")).collect()
}

fn to_json(balances: &Balances) -> Value {
    balances.iter().map(|(name, balance)| (name.clone(), json!(balance.to_string()))).collect()
}

fn topology() -> anyhow::Result<Topology> {
    Topology::parse(
        "nodes = [\"Bob\", \"Alice\", \"Charli\"]\n\
         [[lines]]\nbetween = [\"Bob\", \"Alice\"]\nbalance = \"-50\"\nmax_debt = \"100\"\n\
         [[lines]]\nbetween = [\"Alice\", \"Charli\"]\nbalance = \"-50\"\nmax_debt = \"100\"\n",
    )
}

const PRICE: Credits = Credits(50);
const PICTURE: &str = "    (-50, +50)      (-50, +50)
Bob --------- Alice ---------- Charli";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_has_its_topology() {
        let topology = topology().unwrap();
        assert_eq!(topology.nodes.len(), 3);
        assert_eq!(topology.lines.len(), 2);
    }
}
