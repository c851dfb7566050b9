//! The ports of a network, and the keys that are used there.

use std::{fs, sync::Arc};

use offset_crypto::{Identity, SystemRng};
use offset_proto::{
    ServerAddress,
    file::{IdentityFile, IndexTicket, NodeTicket, OffsetFile, RelayTicket},
    session::Purpose,
};
use offset_secure_channel::ChannelIdentity;

use crate::{
    attacks::Port,
    support::{Sandbox, eventually},
};

/// Every port on which something listens, one of each kind.
pub(crate) fn ports(sandbox: &Sandbox) -> [Port; 4] {
    let port = |name, purpose, server: ServerAddress, known: Option<&str>| Port {
        name,
        purpose,
        server,
        open: known.is_none(),
        node: identity(sandbox, "net/node2/node.ident").public_key(),
        known: Arc::new(ChannelIdentity::new(
            &known.map_or_else(|| Identity::random(&mut SystemRng), |file| identity(sandbox, file)),
        )),
    };
    let index = |file| read::<IndexTicket>(sandbox, file).0;
    [
        port(
            "node, for apps",
            Purpose::App,
            read::<NodeTicket>(sandbox, "net/node0/node.ticket").0,
            Some(ANOTHER_APP),
        ),
        port(
            "relay",
            Purpose::Relay,
            read::<RelayTicket>(sandbox, "net/relay/relay.ticket").0,
            None,
        ),
        port(
            "index server, for nodes",
            Purpose::IndexClient,
            index("net/index0/client.ticket"),
            None,
        ),
        port(
            "index server, for servers",
            Purpose::IndexServer,
            index("net/index0/server.ticket"),
            Some("net/index1/index.ident"),
        ),
    ]
}

/// The node lets in one more app, which is the one that does not behave. What it asks counts against
/// its own pace, and not against that of the honest one.
pub(crate) fn another_app(sandbox: &Sandbox) {
    let ticket = "net/node0/trusted/another.ticket";
    sandbox.run(&format!("stmgr gen-ident -o {ANOTHER_APP}")).success();
    sandbox.run(&format!("stmgr app-ticket -i {ANOTHER_APP} -o {ticket}")).success();
    let asks = format!("stctrl -I {ANOTHER_APP} -T net/node0/node.ticket info public-key");
    eventually("the node lets it in", || {
        let ran = sandbox.run(&asks);
        if ran.code == Some(0) { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

/// An identity from its file.
pub(crate) fn identity(sandbox: &Sandbox, file: &str) -> Identity {
    Identity::from_seed(read::<IdentityFile>(sandbox, file).into_seed().unwrap())
}

fn read<F: OffsetFile>(sandbox: &Sandbox, file: &str) -> F {
    F::parse(&fs::read_to_string(sandbox.file(file)).unwrap()).unwrap()
}

/// Who does not behave at a node's port for apps.
const ANOTHER_APP: &str = "net/node0/another.ident";
