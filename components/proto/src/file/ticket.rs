//! Identities, tickets and friends.

use std::collections::BTreeMap;

use offset_crypto::{PublicKey, SealedSeed, SealingCost, Seed};

use super::{
    FileError, Kind, OffsetFile, PublicFile,
    fields::{Fields, Writer},
};
use crate::{
    Credits, Currency, ServerAddress,
    app::{AppLimits, MAX_LIMITS, Permissions},
    friend::MAX_RELAYS,
};

/// The secret key of a node, server or app. To be kept from others.
#[derive(Debug)]
pub enum IdentityFile {
    /// Whoever can read the file has the key.
    Plain(Seed),
    /// Only the passphrase opens it.
    Sealed(Box<SealedSeed>),
}

impl IdentityFile {
    /// The key, where no passphrase is needed.
    #[must_use]
    pub fn into_seed(self) -> Option<Seed> {
        match self {
            Self::Plain(seed) => Some(seed),
            Self::Sealed(_) => None,
        }
    }
}

impl OffsetFile for IdentityFile {
    const KIND: Kind = Kind::Identity;

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Plain(seed) => out.text("secret_key", seed.to_text().as_str()),
            Self::Sealed(sealed) => out
                .text("public_key", sealed.public_key)
                .text("encryption", ENCRYPTION)
                .bare("memory_kib", sealed.cost.memory_kib())
                .bare("passes", sealed.cost.passes())
                .text("salt", sealed.salt_text())
                .text("sealed_key", sealed.sealed_text()),
        };
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        if !fields.contains("encryption") {
            return secret(fields).map(Self::Plain);
        }
        if fields.text("encryption")?.as_str() != ENCRYPTION {
            let reason = format_args!("not {ENCRYPTION}, which is all that this version knows");
            return Err(fields.invalid("encryption", reason));
        }
        let memory = u32::try_from(fields.number("memory_kib")?).unwrap_or(u32::MAX);
        let passes = u32::try_from(fields.number("passes")?).unwrap_or(u32::MAX);
        let cost = SealingCost::new(memory, passes);
        Ok(Self::Sealed(Box::new(SealedSeed {
            public_key: fields.parsed("public_key")?,
            cost: cost.map_err(|error| fields.invalid("memory_kib", error))?,
            salt: bytes(fields, "salt")?,
            sealed: bytes(fields, "sealed_key")?,
        })))
    }
}

/// How the key of an identity is sealed.
const ENCRYPTION: &str = "argon2id-chacha20-poly1305";

fn bytes<const N: usize>(fields: &mut Fields, key: &str) -> Result<[u8; N], FileError> {
    let text = fields.text(key)?;
    let bytes = SealedSeed::bytes_of(&text);
    bytes.ok_or_else(|| fields.invalid(key, format_args!("not {N} bytes of base64url")))
}

macro_rules! server_ticket {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub ServerAddress);

        impl OffsetFile for $name {
            const KIND: Kind = Kind::$name;

            fn write(&self, out: &mut Writer) {
                write_server(&self.0, out);
            }

            fn read(fields: &mut Fields) -> Result<Self, FileError> {
                read_server(fields).map(Self)
            }
        }

        impl PublicFile for $name {}
    };
}

server_ticket!(
    /// Where an app reaches a node.
    NodeTicket
);
server_ticket!(
    /// Where a node reaches a relay.
    RelayTicket
);
server_ticket!(
    /// Where a node reaches an index server, or an index server another one.
    IndexTicket
);

/// What a node lets an app do, from the moment at which the file is in its directory of trusted
/// apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppTicket {
    /// The app.
    pub public_key: PublicKey,
    /// What it may do besides reading.
    pub permissions: Permissions,
    /// How much of it.
    pub limits: AppLimits,
}

impl AppTicket {
    /// A ticket without limits.
    #[must_use]
    pub fn new(public_key: PublicKey, permissions: Permissions) -> Self {
        Self { public_key, permissions, limits: AppLimits::default() }
    }
}

impl OffsetFile for AppTicket {
    const KIND: Kind = Kind::AppTicket;

    fn write(&self, out: &mut Writer) {
        let Permissions { routes, buyer, seller, config } = self.permissions;
        out.text("public_key", self.public_key)
            .header("[permissions]")
            .bare("routes", routes)
            .bare("buyer", buyer)
            .bare("seller", seller)
            .bare("config", config);
        let AppLimits { max_payment, budget, commands_per_second } = &self.limits;
        if let Some(pace) = commands_per_second {
            out.header("[limits]").bare("commands_per_second", pace);
        }
        for (header, amounts) in
            [("[limits.max_payment]", max_payment), ("[limits.budget]", budget)]
        {
            if !amounts.is_empty() {
                out.header(header);
                for (currency, amount) in amounts {
                    // In quotes, as a name may contain a dot.
                    out.text(&format!("\"{currency}\""), amount);
                }
            }
        }
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        let public_key = fields.parsed("public_key")?;
        let mut table = fields.table("permissions", "permissions.")?;
        let permissions = Permissions {
            routes: table.bool("routes")?,
            buyer: table.bool("buyer")?,
            seller: table.bool("seller")?,
            config: table.bool("config")?,
        };
        table.finish()?;
        let limits = if fields.contains("limits") {
            read_limits(fields.table("limits", "limits.")?)?
        } else {
            AppLimits::default()
        };
        Ok(Self { public_key, permissions, limits })
    }
}

fn read_limits(mut table: Fields) -> Result<AppLimits, FileError> {
    let amounts = |table: &mut Fields, key, prefix| {
        if table.contains(key) {
            read_amounts(table.table(key, prefix)?)
        } else {
            Ok(BTreeMap::new())
        }
    };
    let max_payment = amounts(&mut table, "max_payment", "limits.max_payment.")?;
    let budget = amounts(&mut table, "budget", "limits.budget.")?;
    let commands_per_second = if table.contains("commands_per_second") {
        let number = table.number("commands_per_second")?;
        let pace = u32::try_from(number).ok().filter(|pace| 0 < *pace);
        let wrong = || table.invalid("commands_per_second", "not a number from 1 to 4294967295");
        Some(pace.ok_or_else(wrong)?)
    } else {
        None
    };
    table.finish()?;
    Ok(AppLimits { max_payment, budget, commands_per_second })
}

/// Amounts by currency.
fn read_amounts(mut table: Fields) -> Result<BTreeMap<Currency, Credits>, FileError> {
    let names: Vec<String> = table.keys().map(str::to_owned).collect();
    if MAX_LIMITS < names.len() {
        return Err(table.invalid("", format_args!("more than {MAX_LIMITS} currencies")));
    }
    let mut amounts = BTreeMap::new();
    for name in names {
        let currency = name.parse::<Currency>().map_err(|error| table.invalid(&name, error))?;
        amounts.insert(currency, table.parsed(&name)?);
    }
    Ok(amounts)
}

impl PublicFile for AppTicket {}

/// All that an app needs to reach its node: a node ticket and the app's secret key. To be kept from
/// others.
#[derive(Debug)]
pub struct NodeEntry {
    /// The node.
    pub node: ServerAddress,
    /// The app's identity.
    pub app: Seed,
}

impl OffsetFile for NodeEntry {
    const KIND: Kind = Kind::NodeEntry;

    fn write(&self, out: &mut Writer) {
        write_server(&self.node, out);
        out.text("secret_key", self.app.to_text().as_str());
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        Ok(Self { node: read_server(fields)?, app: secret(fields)? })
    }
}

/// A node's key and relays, as it gives them to its friends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FriendFile {
    /// The node.
    pub public_key: PublicKey,
    /// Where it listens, at most [`MAX_RELAYS`].
    pub relays: Vec<ServerAddress>,
}

impl OffsetFile for FriendFile {
    const KIND: Kind = Kind::Friend;

    fn write(&self, out: &mut Writer) {
        out.text("public_key", self.public_key);
        for relay in &self.relays {
            write_server(relay, out.header("[[relays]]"));
        }
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        let public_key = fields.parsed("public_key")?;
        let mut relays = Vec::new();
        for mut table in fields.tables("relays", "relays.", MAX_RELAYS)? {
            relays.push(read_server(&mut table)?);
            table.finish()?;
        }
        Ok(Self { public_key, relays })
    }
}

impl PublicFile for FriendFile {}

fn write_server(server: &ServerAddress, out: &mut Writer) {
    out.text("public_key", server.public_key).text("address", &server.address);
}

fn read_server(fields: &mut Fields) -> Result<ServerAddress, FileError> {
    Ok(ServerAddress {
        public_key: fields.parsed("public_key")?,
        address: fields.parsed("address")?,
    })
}

fn secret(fields: &mut Fields) -> Result<Seed, FileError> {
    let text = fields.text("secret_key")?;
    Seed::from_text(&text).map_err(|error| fields.invalid("secret_key", error))
}
