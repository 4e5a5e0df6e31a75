//! The words by which users and keys are found.

use std::collections::BTreeSet;

use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};

/// The maximum number of words taken from a text. Further words are ignored.
const MOST_WORDS: usize = 24;
/// Longer words are cut to this many characters.
pub const LONGEST_WORD: usize = 64;

/// Splits a string into words at characters that are neither letters nor digits. The words are in lower case and have
/// no accents.
pub fn words(text: &str) -> BTreeSet<String> {
    // Converts to upper case first, because some letters have several lower-case forms.
    let folded = text
        .nfkd()
        .filter(|c| canonical_combining_class(*c) == 0)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase);
    let folded: String = folded.collect();
    let words = folded
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let shortened = words.map(|word| word.chars().take(LONGEST_WORD).collect());
    shortened.take(MOST_WORDS).collect()
}

/// Whether each word in `wanted` is the beginning of a word in `words`.
pub fn begin_words(wanted: &BTreeSet<String>, words: &BTreeSet<String>) -> bool {
    let is_found = |wanted: &String| words.iter().any(|word| word.starts_with(wanted));
    wanted.iter().all(is_found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_without_case_and_accents() {
        for (text, expected) in [
            ("", &[][..]),
            ("-!? .", &[]),
            ("Ann Lee", &["ann", "lee"]),
            ("ann.lee@acme.example", &["acme", "ann", "example", "lee"]),
            ("José Núñez-Ortega", &["jose", "nunez", "ortega"]),
            ("Jose\u{301}", &["jose"]),
            ("STRASSE Straße", &["strasse"]),
            ("ΟΔΥΣΣΕΥΣ οδυσσευς", &["οδυσσευσ"]),
            ("İstanbul ISPARTA", &["isparta", "istanbul"]),
            ("ｆｕｌｌ １２", &["12", "full"]),
            ("田中 太郎", &["太郎", "田中"]),
            ("a1 b2#c", &["a1", "b2", "c"]),
        ] {
            let words = words(text);
            assert!(words.iter().eq(expected), "{text}: {words:?}");
        }
    }

    #[test]
    fn the_number_and_the_length_of_words_are_limited() {
        let long = "x".repeat(100);
        assert_eq!(words(&long), ["x".repeat(64)].into());
        let many: String = (10..99).map(|n| format!("{n} ")).collect();
        let found = words(&many);
        assert_eq!((found.len(), found.first().unwrap().as_str()), (24, "10"));
    }
}
