//! A picture of ways: every node once, those as many lines away from the payer in one column, and an
//! arrow for every line that a way takes, as wide as the share that it carries.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use offset_crypto::PublicKey;
use offset_proto::index::MultiRoute;

/// Between the columns, and between the nodes of one.
const COLUMN: usize = 220;
const ROW: usize = 90;
const MARGIN: usize = 70;
/// One for each way; further ones begin anew.
const COLOURS: [&str; 4] = ["#1f5fa8", "#b3541e", "#3b7d3b", "#7a3b8f"];
/// So many characters of a key are shown; all of it when the pointer rests on the node.
const SHOWN: usize = 8;

/// The ways as a file of the format SVG.
pub(super) fn draw(ways: &[MultiRoute]) -> String {
    let places = places(ways);
    let columns = places.values().map(|(column, _)| column + 1).max().unwrap_or(1);
    let rows = places.values().map(|(_, row)| row + 1).max().unwrap_or(1);
    let (width, height) = (2 * MARGIN + (columns - 1) * COLUMN, 2 * MARGIN + rows * ROW);
    let mut text = String::new();
    write(&mut text, &places, ways, (width, height)).expect("a text takes everything");
    text
}

fn write(
    text: &mut String,
    places: &BTreeMap<PublicKey, (usize, usize)>,
    ways: &[MultiRoute],
    (width, height): (usize, usize),
) -> fmt::Result {
    writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    )?;
    let number = ways.len();
    writeln!(text, "<title>{number} ways, found by an index server</title>")?;
    for (colour, way) in COLOURS.iter().cycle().zip(ways) {
        let most = way.routes.iter().map(|route| route.amount.0).max().unwrap_or(0).max(1);
        for route in &way.routes {
            // Between 1 and 6.
            let share = u8::try_from(route.amount.0.saturating_mul(5) / most).unwrap_or(5);
            for pair in route.keys.windows(2) {
                let [(x, y), (to_x, to_y)] = [pair[0], pair[1]].map(|key| point(places[&key]));
                let bend = (x + to_x) / 2;
                writeln!(
                    text,
                    "<path d=\"M {x} {y} C {bend} {y} {bend} {to_y} {to_x} {to_y}\" fill=\"none\" \
                     stroke=\"{colour}\" stroke-width=\"{}\" stroke-opacity=\"0.55\">\
                     <title>{} with fee {}</title></path>",
                    1 + share,
                    route.amount,
                    route.fee
                )?;
            }
        }
    }
    for (key, place) in places {
        let ((x, y), name) = (point(*place), key.to_string());
        let short: String = name.chars().take(SHOWN).collect();
        writeln!(
            text,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"14\" fill=\"#ffffff\" stroke=\"#333333\">\
             <title>{name}</title></circle>"
        )?;
        writeln!(text, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{short}</text>", y + 30)?;
    }
    for ((row, colour), way) in COLOURS.iter().cycle().enumerate().zip(ways) {
        let (y, seconds) = (20 + 16 * row, way.age_ms / 1_000);
        let fee = way.total_fee;
        let said = format!("Way {}: fees {fee}, known {seconds} s ago", row + 1);
        writeln!(text, "<text x=\"10\" y=\"{y}\" fill=\"{colour}\">{said}</text>")?;
    }
    writeln!(text, "</svg>")
}

const fn point((column, row): (usize, usize)) -> (usize, usize) {
    (MARGIN + column * COLUMN, 2 * MARGIN + row * ROW)
}

/// The column and row of every node: as far to the right as the longest way to it is long.
fn places(ways: &[MultiRoute]) -> BTreeMap<PublicKey, (usize, usize)> {
    let mut columns: BTreeMap<PublicKey, usize> = BTreeMap::new();
    for route in ways.iter().flat_map(|way| &way.routes) {
        for (at, key) in route.keys.iter().enumerate() {
            let column = columns.entry(*key).or_default();
            *column = at.max(*column);
        }
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let place = |(key, column)| {
        let row = rows.entry(column).or_default();
        *row += 1;
        (key, (column, *row - 1))
    };
    columns.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, Seed};
    use offset_proto::{Credits, index::Route};

    use super::*;

    fn key(n: u8) -> PublicKey {
        Identity::from_seed(Seed::from_bytes([n; 32])).public_key()
    }

    fn way(routes: &[(&[u8], u128, u128)]) -> MultiRoute {
        let route = |(keys, amount, fee): &(&[u8], u128, u128)| Route {
            keys: keys.iter().map(|n| key(*n)).collect(),
            amount: Credits(*amount),
            fee: Credits(*fee),
        };
        let routes: Vec<Route> = routes.iter().map(route).collect();
        let total_fee = Credits(routes.iter().map(|route| route.fee.0).sum());
        MultiRoute { routes, total_fee, age_ms: 3_900 }
    }

    #[test]
    fn every_node_stands_once_and_every_line_is_drawn() {
        let ways = [way(&[(&[1, 2, 4], 60, 2), (&[1, 3, 2, 4], 40, 3)]), way(&[(&[1, 4], 100, 0)])];
        let places = places(&ways);
        assert_eq!(places[&key(1)].0, 0);
        assert_eq!((places[&key(3)].0, places[&key(2)].0, places[&key(4)].0), (1, 2, 3));
        let text = draw(&ways);
        assert_eq!(text.matches("<circle").count(), 4);
        assert_eq!(text.matches("<path").count(), 2 + 3 + 1);
        assert!(text.contains("Way 1: fees 5, known 3 s ago"), "{text}");
        assert!(text.contains("Way 2: fees 0, known 3 s ago"), "{text}");
        for n in 1..=4 {
            assert_eq!(text.matches(&format!("<title>{}</title>", key(n))).count(), 1);
        }
        let tags = |open: &str| text.matches(open).count();
        assert_eq!((tags("<svg"), tags("</svg>")), (1, 1));
        assert_eq!(tags("<title>"), tags("</title>"));
    }

    #[test]
    fn nothing_is_a_picture_too() {
        assert!(draw(&[]).ends_with("</svg>\n"));
    }
}
