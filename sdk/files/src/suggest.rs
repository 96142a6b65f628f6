//! "did you mean": the nearest known word to one that is unknown.

/// Returns the known word nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["listen", "data-dir", "connection"];
        assert_eq!(nearest("conection", known), Some("connection"));
        assert_eq!(nearest("data_dir", known), Some("data-dir"));
        assert_eq!(nearest("colour", known), None);
    }
}
