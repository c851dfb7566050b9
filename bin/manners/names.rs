//! Names that a user may have meant.

/// The names among `known` that are near to `wanted`, nearest first, at most three: those that
/// differ in few characters or in case only, or that begin alike.
#[must_use]
pub fn near<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = wanted.to_lowercase();
    let allowed = 1 + wanted.chars().count() / 4;
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let candidate = name.to_lowercase();
            let distance = distance(&lower, &candidate);
            let begins = !lower.is_empty()
                && (candidate.starts_with(&lower) || lower.starts_with(&candidate));
            (distance <= allowed || begins).then_some((distance, name))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The end of a sentence about an unknown name: the near ones, or where to look.
#[must_use]
pub fn suggestion<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
    list_command: &str,
) -> String {
    match near(wanted, known).as_slice() {
        [] => format!("`{list_command}` lists what there is"),
        names => format!("did you mean {}?", names.join(" or ")),
    }
}

/// Insertions, removals and replacements of one character that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("node1", "node2", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn near_names_come_nearest_first() {
        let known = ["charli", "Bob", "alice", "bob2", "bobby"];
        assert_eq!(near("bob", known), ["Bob", "bob2", "bobby"]);
        assert_eq!(near("charly", known), ["charli"]);
        assert!(near("zoe", known).is_empty());
        assert_eq!(suggestion("alise", known, "info friends"), "did you mean alice?");
        assert_eq!(
            suggestion("zoe", known, "stctrl info friends"),
            "`stctrl info friends` lists what there is"
        );
    }
}
