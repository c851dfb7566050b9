//! How relays and index servers are shown.

use offset_proto::report::ServerReport;
use serde_json::{Value, json};

use super::friends::server_json;
use crate::manners::{
    Answer,
    table::{self, Header},
};

/// The table of relays.
#[must_use]
pub fn relays(relays: &[ServerReport]) -> Answer {
    let json = json!({ "relays": relays.iter().map(to_json).collect::<Vec<_>>() });
    if relays.is_empty() {
        return Answer::new("No configured relay servers.", json);
    }
    let rows = relays.iter().map(|relay| row(relay, relay.name.to_string()));
    Answer::new(table::draw(Header::Plain, ["relay name", "public key", "address"], rows), json)
}

/// The table of index servers, the connected one marked ` (*)`.
#[must_use]
pub fn index_servers(servers: &[ServerReport]) -> Answer {
    let json = json!({ "index_servers": servers.iter().map(to_json).collect::<Vec<_>>() });
    if servers.is_empty() {
        return Answer::new("No configured index servers.", json);
    }
    let rows = servers.iter().map(|server| {
        let mark = if server.connected { " (*)" } else { "" };
        row(server, format!("{}{mark}", server.name))
    });
    let titles = ["index server name", "public key", "address"];
    Answer::new(table::draw(Header::Plain, titles, rows), json)
}

/// A relay or index server as JSON.
#[must_use]
pub fn to_json(report: &ServerReport) -> Value {
    let mut value = server_json(&report.server);
    value["name"] = json!(report.name.as_str());
    value["connected"] = json!(report.connected);
    value["last_error"] = json!(report.last_error.as_str());
    value
}

fn row(report: &ServerReport, name: String) -> [String; 3] {
    [name, report.server.public_key.to_string(), report.server.address.to_string()]
}

#[cfg(test)]
mod tests {
    use offset_proto::ServerAddress;

    use super::*;

    fn server(name: &str, key: &str, address: &str, connected: bool) -> ServerReport {
        ServerReport {
            name: name.parse().unwrap(),
            server: ServerAddress {
                public_key: key.parse().unwrap(),
                address: address.parse().unwrap(),
            },
            connected,
            last_error: "".parse().unwrap(),
        }
    }

    #[test]
    fn relays_as_in_the_tutorial() {
        let relay =
            server("relay0", "Brvo3Fo0O2svzU1rFdcBL6FtLVNL6b8xJNAWgZc7ll0", "127.0.0.1:8000", true);
        let expected = "\
+------------+---------------------------------------------+----------------+
| relay name | public key                                  | address        |
+------------+---------------------------------------------+----------------+
| relay0     | Brvo3Fo0O2svzU1rFdcBL6FtLVNL6b8xJNAWgZc7ll0 | 127.0.0.1:8000 |
+------------+---------------------------------------------+----------------+";
        assert_eq!(relays(&[relay]).text(), expected);
        assert_eq!(relays(&[]).text(), "No configured relay servers.");
    }

    #[test]
    fn index_servers_as_in_the_tutorial() {
        let index =
            server("index0", "LMncLsod0HGDG66kEJJ3kki68CAGfjDsPTdGdLsyD5M", "127.0.0.1:9000", true);
        let expected = "\
+-------------------+---------------------------------------------+----------------+
| index server name | public key                                  | address        |
+-------------------+---------------------------------------------+----------------+
| index0 (*)        | LMncLsod0HGDG66kEJJ3kki68CAGfjDsPTdGdLsyD5M | 127.0.0.1:9000 |
+-------------------+---------------------------------------------+----------------+";
        assert_eq!(index_servers(&[index]).text(), expected);
        assert_eq!(index_servers(&[]).text(), "No configured index servers.");
    }
}
