//! "Did you mean …?" for names that do not exist.

/// Characters beyond which no suggestion is sought: nobody misspells a name of that length.
const NAME_CHARS: usize = 64;

/// The name closest to `wrong`, if one is close enough to be what was meant.
pub(super) fn closest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong: Vec<char> = wrong.chars().take(NAME_CHARS + 1).flat_map(char::to_lowercase).collect();
    if wrong.len() > NAME_CHARS {
        return None;
    }
    let allowed = (wrong.len() / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(&wrong, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A text to put behind an error: `; did you mean …?`, or nothing.
pub(super) fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    closest(wrong, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// How many characters must be put in, left out or exchanged to make one name of the other (Levenshtein).
fn distance(wrong: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=wrong.len()).collect();
    for (i, right) in name.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, letter) in row.iter_mut().skip(1).zip(wrong) {
            let exchanged = diagonal + usize::from(*letter != right);
            diagonal = *cell;
            left = exchanged.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_suggested_and_distant_ones_are_not() {
        let names = ["listen", "allowed_origins", "tls_key"];
        assert_eq!(closest("listn", names), Some("listen"));
        assert_eq!(closest("Listen", names), Some("listen"));
        assert_eq!(closest("allow_origins", names), Some("allowed_origins"));
        assert_eq!(closest("colour", names), None);
        assert_eq!(closest("", names), None);
        assert_eq!(closest(&"listen".repeat(100), names), None);
    }

    #[test]
    fn the_distance_counts_edits() {
        let distance = |a: &str, b| distance(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
