//! Which names fit what was typed of them.

/// How well a name fits: all characters of the query are in it, in this order. Higher is better; at the beginnings of words and
/// side by side counts more.
pub(crate) fn score(name: &str, query: &str) -> Option<i32> {
    let mut wanted =
        query.chars().flat_map(char::to_lowercase).filter(|character| !character.is_whitespace()).peekable();
    let (mut score, mut before, mut last_fit) = (0, ' ', false);
    for (index, character) in name.chars().flat_map(char::to_lowercase).enumerate() {
        let fits = wanted.peek() == Some(&character);
        if fits {
            wanted.next();
            score += 1;
            score += if last_fit { 4 } else { 0 };
            score += if before.is_alphanumeric() { 0 } else { 6 };
            score += if index == 0 { 2 } else { 0 };
        }
        (before, last_fit) = (character, fits);
    }
    // Of two that fit alike the shorter one.
    wanted.peek().is_none().then(|| score * 100 - (name.chars().count().min(99) as i32))
}

/// Those that fit, the best first; in their order where nothing is asked.
pub(crate) fn find<T>(items: Vec<T>, query: &str, name: impl Fn(&T) -> &str) -> Vec<T> {
    if query.trim().is_empty() {
        return items;
    }
    let mut found: Vec<_> = items.into_iter().filter_map(|item| Some((score(name(&item), query)?, item))).collect();
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_words_go_first() {
        let names = vec!["abacus", "Book club", "bob", "cub scouts"];
        assert_eq!(find(names.clone(), "bc", |name| name), ["Book club", "abacus", "cub scouts"]);
        assert_eq!(find(names.clone(), "BO", |name| name), ["bob", "Book club", "cub scouts"]);
        assert_eq!(find(names.clone(), "xyz", |name| name), [""; 0]);
        assert_eq!(find(names.clone(), " ", |name| name), names);
    }
}
