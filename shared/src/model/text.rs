//! The rule for text that people read: names, reasons and e-mail addresses. A character that cannot be seen, or that
//! moves its neighbours, can make one text look like another.

use unicode_properties::UnicodeEmoji;

/// Whether a text is free of control characters, line separators, invisible characters, and characters that set the
/// direction of text. Invisible characters are allowed only where they are needed: in emoji sequences (UTS #51), and as
/// joiners between letters of the scripts in U+0600 to U+0DFF (Arabic to Sinhala).
pub fn is_plain(text: &str) -> bool {
    let without_flags = FLAGS
        .iter()
        .fold(text.to_owned(), |text, flag| text.replace(flag, "x"));
    let chars: Vec<char> = without_flags.chars().collect();
    let at = |position: usize| chars.get(position).copied();
    chars.iter().enumerate().all(|(position, c)| {
        let before = position.checked_sub(1).and_then(at);
        let after = at(position + 1);
        !c.is_control()
            && !is_line_separator(*c)
            && (!is_ignorable(*c) || is_needed(*c, before, after))
    })
}

/// Whether at least one character can be seen.
pub(super) fn is_visible(text: &str) -> bool {
    const BRAILLE_BLANK: char = '\u{2800}';
    let is_visible =
        |c: char| !c.is_whitespace() && !c.is_control() && !is_ignorable(c) && c != BRAILLE_BLANK;
    text.chars().any(is_visible)
}

/// The flags of England, Scotland and Wales. No other emoji with tag characters is recommended for general interchange.
const FLAGS: [&str; 3] = [
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

const fn is_line_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a character has the property `Default_Ignorable_Code_Point` of UAX #44. The formatting characters of UAX #9
/// have this property.
const fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_needed(c: char, before: Option<char>, after: Option<char>) -> bool {
    const KEYCAP: char = '\u{20e3}';
    let is_emoji = |c: char| !c.is_ascii() && c.is_emoji_char();
    let is_selector = |c: char| c == '\u{fe0f}';
    let joins_letters = |c: char| matches!(c, '\u{600}'..='\u{dff}');
    match c {
        // Variation selectors for text and emoji.
        '\u{fe0e}' | '\u{fe0f}' => {
            let is_keycap = after == Some(KEYCAP);
            before.is_some_and(|b| b.is_emoji_char() && (is_keycap || !b.is_ascii()))
        }
        // Zero width joiner and non-joiner.
        '\u{200d}' if before.is_some_and(|b| is_emoji(b) || is_selector(b)) => {
            after.is_some_and(is_emoji)
        }
        '\u{200c}' | '\u{200d}' => {
            before.is_some_and(joins_letters) && after.is_some_and(joins_letters)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that cannot be seen.
    const INVISIBLE: [char; 14] = [
        '\u{200b}',
        '\u{2060}',
        '\u{ad}',
        '\u{3164}',
        '\u{115f}',
        '\u{200c}',
        '\u{200d}',
        '\u{fe0f}',
        '\u{34f}',
        '\u{180e}',
        '\u{e0041}',
        '\u{feff}',
        '\u{202e}',
        '\u{2066}',
    ];

    #[test]
    fn an_invisible_character_is_refused_alone_and_between_others() {
        for c in INVISIBLE {
            for text in [
                format!("a{c}b"),
                format!("1{c}2"),
                format!("{c}a"),
                format!("a{c}"),
            ] {
                assert!(!is_plain(&text), "{text:?}");
            }
            assert!(!is_visible(&format!(" {c}")), "{c:?}");
        }
        for text in ["", " \t", "\u{2800}", "\u{2800}\u{3000}"] {
            assert!(!is_visible(text), "{text:?}");
        }
        for text in [
            "a\u{fe0f}\u{20e3}",
            "🏴\u{e0061}\u{e007f}",
            "🏴\u{e0067}\u{e0062}a",
            "a\0b",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{2028}b",
            "a\u{85}b",
        ] {
            assert!(!is_plain(text), "{text:?}");
        }
    }

    #[test]
    fn every_script_and_emoji_sequence_is_allowed() {
        for text in [
            "a",
            "Zoë",
            "مفتاح",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "密钥",
            "🔑",
            "👩\u{200d}💻",
            "🏳\u{fe0f}\u{200d}🌈",
            "👍🏽",
            "1\u{fe0f}\u{20e3}",
            "❤\u{fe0f}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        ] {
            assert!(is_plain(text) && is_visible(text), "{text:?}");
        }
    }
}
