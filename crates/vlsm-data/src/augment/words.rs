//! Words of a prompt that a change of the image can make false.

/// Words that change in an image mirrored at its vertical axis.
const HORIZONTAL: [[&str; 2]; 3] = [
    ["left", "right"],
    ["leftmost", "rightmost"],
    ["leftward", "rightward"],
];

/// Words that change in an image mirrored at its horizontal axis.
const VERTICAL: [[&str; 2]; 5] = [
    ["top", "bottom"],
    ["topmost", "bottommost"],
    ["upper", "lower"],
    ["uppermost", "lowermost"],
    ["above", "below"],
];

/// Words of position that have no other word for the mirrored image, or may mean something else.
const UNPAIRED: [&str; 5] = ["under", "over", "beneath", "up", "down"];

/// Words of position that mirroring keeps true.
const CENTRAL: [&str; 4] = ["center", "centre", "middle", "central"];

/// Words of size.
const SIZES: [&str; 8] = [
    "small", "medium", "large", "tiny", "big", "huge", "smallest", "largest",
];

/// Words of number.
const NUMBERS: [&str; 16] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "single", "several", "many", "multiple",
];

/// What a prompt says about the image as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// A position.
    pub(super) position: bool,
    /// A position that has no word in the image mirrored at its horizontal axis.
    pub(super) fixes_vertical: bool,
    pub(super) size: bool,
    pub(super) number: bool,
}

impl Facts {
    pub(super) fn of(prompt: &str) -> Self {
        let mut facts = Self::default();
        let words = prompt.split(|c: char| !c.is_alphanumeric());
        for word in words.map(str::to_lowercase) {
            let word = word.as_str();
            let paired = [&HORIZONTAL[..], &VERTICAL[..]].concat();
            let unpaired = UNPAIRED.contains(&word);
            facts.fixes_vertical |= unpaired;
            facts.position |= unpaired
                || CENTRAL.contains(&word)
                || paired.iter().flatten().any(|known| *known == word);
            facts.size |= SIZES.contains(&word);
            let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            facts.number |= digits || NUMBERS.contains(&word);
        }
        facts
    }
}

/// The prompt for a mirrored image. A word keeps the case of its first letter, or is all in capitals as before.
pub(super) fn mirrored(prompt: &str, horizontal: bool, vertical: bool) -> String {
    let mut pairs = Vec::new();
    if horizontal {
        pairs.extend(HORIZONTAL);
    }
    if vertical {
        pairs.extend(VERTICAL);
    }
    if pairs.is_empty() {
        return prompt.to_owned();
    }
    let mut text = String::with_capacity(prompt.len());
    let mut word = String::new();
    for c in prompt.chars().map(Some).chain([None]) {
        match c {
            Some(c) if c.is_alphanumeric() => word.push(c),
            other => {
                text += &exchanged(&word, &pairs);
                word.clear();
                text.extend(other);
            }
        }
    }
    text
}

/// The other word of a pair, or the word itself.
fn exchanged(word: &str, pairs: &[[&str; 2]]) -> String {
    let lower = word.to_lowercase();
    let other = pairs.iter().find_map(|[a, b]| match lower.as_str() {
        word if word == *a => Some(*b),
        word if word == *b => Some(*a),
        _ => None,
    });
    let Some(other) = other else {
        return word.to_owned();
    };
    let is_upper = |c: char| c.is_uppercase();
    if word.chars().all(is_upper) {
        other.to_uppercase()
    } else if word.starts_with(is_upper) {
        let (first, rest) = other.split_at(1);
        first.to_uppercase() + rest
    } else {
        other.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrored_words_are_exchanged_and_others_stay() {
        let prompt = "Two small polyps, located in top left, RIGHT of the image; Left-hand, copyright, leftover";
        assert_eq!(
            mirrored(prompt, true, false),
            "Two small polyps, located in top right, LEFT of the image; Right-hand, copyright, leftover"
        );
        assert_eq!(
            mirrored("the disc above the upper ring at the bottom", false, true),
            "the disc below the lower ring at the top"
        );
        for (horizontal, vertical) in [(true, true), (true, false), (false, true), (false, false)] {
            let once = mirrored(prompt, horizontal, vertical);
            assert_eq!(mirrored(&once, horizontal, vertical), prompt);
        }
        assert_eq!(mirrored("", true, true), "");
        assert_eq!(mirrored("läsion links", true, true), "läsion links");
    }

    #[test]
    fn facts_are_found_as_whole_words() {
        let none = Facts::default();
        assert_eq!(Facts::of("bright polyp, topical"), none);
        assert!(Facts::of("Left lung").position);
        assert!(Facts::of("in center of the image").position);
        let under = Facts::of("disc under the ring");
        assert!(under.position && under.fixes_vertical);
        assert!(Facts::of("12 small polyps").number && Facts::of("Small polyp").size);
    }
}
