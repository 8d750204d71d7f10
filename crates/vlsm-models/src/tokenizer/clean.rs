//! The cleaning of text that CLIP's published tokenizer does before encoding.
//!
//! There it is `ftfy.fix_text` followed by `html.unescape` twice, white space collapsed and lowercasing. Of `ftfy`, all
//! that rewrites single characters is done here; its guessing at text decoded with the wrong encoding ("mojibake") and
//! its removal of terminal escape sequences are not.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// Repairing may uncover something to repair (an entity inside an entity); `ftfy` too repeats until nothing changes.
const MAX_ROUNDS: usize = 8;

/// Cleans and lowercases a text.
pub(super) fn clean(text: &str) -> String {
    // A `<` says the text may be real HTML; then `ftfy` leaves entities to the later step, after quotes are straightened.
    let plain = !text.contains('<');
    let mut text = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        let fixed = fix_characters(&if plain {
            htmlize::unescape(&text)
        } else {
            Cow::Borrowed(text.as_str())
        });
        if fixed == text {
            break;
        }
        text = fixed;
    }
    let unescaped = htmlize::unescape(htmlize::unescape(&text));
    unescaped
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// Takes ligatures and width forms apart, straightens quotes, drops control characters, composes accents (NFC).
fn fix_characters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{02BC}' | '\u{2018}'..='\u{201B}' => out.push('\''),
            '\u{201C}'..='\u{201F}' => out.push('"'),
            // Ideographic space, full-width and half-width forms.
            '\u{3000}' | '\u{FF01}'..='\u{FFEF}' => out.extend(std::iter::once(c).nfkc()),
            '\u{00}'..='\u{08}' | '\u{0B}' | '\u{0E}'..='\u{1F}' | '\u{7F}' => {}
            '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}' => {}
            _ => match ligature(c) {
                Some(letters) => out.push_str(letters),
                None => out.push(c),
            },
        }
    }
    out.nfc().collect()
}

/// The letters of a Latin ligature (`ftfy.chardata.LIGATURES`).
fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn cleans_as_the_published_tokenizer() {
        // Expected values by Python: ftfy 6.3.1, html.unescape twice, \s+ to one space, strip, lower.
        for (text, expected) in [
            ("  A\tphoto\n of ", "a photo of"),
            ("“it’s”", "\"it's\""),
            ("a &amp;amp; b &lt;c&gt;", "a & b <c>"),
            ("<i>&ldquo;x&rdquo;", "<i>“x”"),
            ("ﬁbroid ＡＢＣ　ｱ", "fibroid abc ア"),
            ("e\u{301}\u{0}\u{feff}", "é"),
            ("ΟΔΟΣ", "οδος"),
            ("", ""),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }
}
