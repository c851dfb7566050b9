//! Clients that use a network as it is meant.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, PublicKey, SystemRng};
use offset_proto::{Credits, ServerAddress};
use offset_relay::{Circuit, ClientConfig, RelayClient};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::sleep,
};

use crate::support::eventually;

/// Clients that work all the time, over connections that stand.
pub(crate) struct Honest {
    done: Vec<Arc<AtomicU64>>,
    /// Of each the slowest answer since somebody looked, in microseconds.
    slowest: Vec<Arc<AtomicU64>>,
    failure: Arc<Mutex<Option<String>>>,
    _tasks: JoinSet<()>,
}

impl Honest {
    /// Sets them to work.
    pub(crate) fn start(clients: Vec<Client>) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let (mut done, mut slowest, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        for mut client in clients {
            let (count, failure) = (Arc::new(AtomicU64::new(0)), Arc::clone(&failure));
            let slow = Arc::new(AtomicU64::new(0));
            done.push(Arc::clone(&count));
            slowest.push(Arc::clone(&slow));
            tasks.spawn(async move {
                loop {
                    let begin = Instant::now();
                    if let Err(error) = client.work().await {
                        *failure.lock().unwrap() = Some(error);
                        return;
                    }
                    let took = u64::try_from(begin.elapsed().as_micros()).unwrap();
                    slow.fetch_max(took, Relaxed);
                    count.fetch_add(1, Relaxed);
                    sleep(Duration::from_millis(50)).await;
                }
            });
        }
        Self { done, slowest, failure, _tasks: tasks }
    }

    /// The slowest answer of each since the last look.
    pub(crate) fn slowest(&self) -> Vec<Duration> {
        let looks = self.slowest.iter().map(|slow| slow.swap(0, Relaxed));
        looks.map(Duration::from_micros).collect()
    }

    /// Waits until each has done more, and nothing has failed.
    #[track_caller]
    pub(crate) fn goes_on(&self, when: &str) {
        let counts = || self.done.iter().map(|count| count.load(Relaxed)).collect::<Vec<_>>();
        let before = counts();
        eventually(&format!("honest clients are served {when}"), || {
            let failure = self.failure.lock().unwrap();
            assert!(failure.is_none(), "{when}: {failure:?}");
            let now = counts();
            let all = before.iter().zip(&now).all(|(before, now)| before + 3 <= *now);
            if all { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
        });
    }
}

/// One of them.
pub(crate) enum Client {
    /// An app that asks for reports.
    Reports(AppClient),
    /// An app that asks for routes.
    Routes(AppClient, PublicKey),
    /// Two that talk over a relay.
    Circuit(Box<Circuit>, Box<Circuit>, [RelayClient; 2]),
}

impl Client {
    /// An app that asks a node for reports.
    pub(crate) async fn reports(app: &Identity, node: &ServerAddress) -> Self {
        Self::Reports(AppClient::connect(app, node, &ConnectOptions::retrying()).await.unwrap())
    }

    /// An app that asks a node for routes. The index server has heard of every line then.
    pub(crate) async fn routes(app: &Identity, node: &ServerAddress, payee: PublicKey) -> Self {
        let app = AppClient::connect(app, node, &ConnectOptions::retrying()).await.unwrap();
        let mut client = Self::Routes(app, payee);
        while client.work().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        client
    }

    /// Two with new keys that talk over a relay.
    pub(crate) async fn circuit(relay: &ServerAddress) -> Self {
        let clients = [(); 2].map(|()| {
            let identity = Identity::random(&mut SystemRng);
            let client = RelayClient::new(
                ClientConfig::default(),
                Arc::new(ChannelIdentity::new(&identity)),
            );
            (identity.public_key(), client)
        });
        let [(_, here), (key, there)] = clients;
        let mut listener = there.listen(relay, |_| true).unwrap();
        let accepting = async {
            let accepted = listener.accept().await.unwrap();
            accepted.1
        };
        let connecting = async {
            loop {
                if let Ok(circuit) = here.connect(relay, key).await {
                    return circuit;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let (connected, accepted) = tokio::join!(connecting, accepting);
        Self::Circuit(Box::new(connected), Box::new(accepted), [here, there])
    }

    async fn work(&mut self) -> Result<(), String> {
        match self {
            Self::Reports(app) => {
                app.report().await.map_err(|error| error.to_string())?;
            }
            Self::Routes(app, payee) => {
                let routes = app.routes(None, Credits(1), *payee, Vec::new()).await;
                if routes.map_err(|error| error.to_string())?.is_empty() {
                    return Err("no route is found".to_owned());
                }
            }
            Self::Circuit(here, there, _clients) => {
                let mut bytes = [7; 1000];
                let both = async {
                    here.write_all(&bytes.clone()).await?;
                    there.read_exact(&mut bytes).await
                };
                both.await.map_err(|error| format!("the circuit: {error}"))?;
            }
        }
        Ok(())
    }
}
