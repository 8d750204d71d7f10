//! Separates comments and string literals from code in Rust files.

/// Kind of a stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A comment or a string literal.
    Text,
    /// Everything else.
    Code,
}

/// Splits a Rust file into stretches, in order and without gaps.
pub(crate) fn stretches(source: &str) -> Vec<(Kind, &str)> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < source.len() {
        let rest = &source[at..];
        let length = text_length(rest, source[..at].chars().next_back());
        if length > 0 {
            found.push((Kind::Code, &source[start..at]));
            found.push((Kind::Text, &rest[..length]));
            at += length;
            start = at;
        } else {
            at += code_length(rest);
        }
    }
    found.push((Kind::Code, &source[start..]));
    found.retain(|(_, text)| !text.is_empty());
    found
}

/// Bytes of the comment or string literal at the start of `rest`; 0 if there is none.
fn text_length(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with('r') && !in_word {
        let hashes = rest[1..].bytes().take_while(|&b| b == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            let open = 2 + hashes;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = rest[open..].find(&close);
            return end.map_or(rest.len(), |end| open + end + close.len());
        }
    }
    0
}

/// Bytes of the character at the start of `rest`, or of the character literal.
fn code_length(rest: &str) -> usize {
    let mut chars = rest.chars();
    let first = chars.next().map_or(1, char::len_utf8);
    match (rest.starts_with('\''), chars.next(), chars.next()) {
        (true, Some('\\'), _) => quoted(rest, '\''),
        (true, Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => first,
    }
}

/// Bytes up to and including the closing quote; `\` escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_separated_from_code() {
        let source = "let a = \"x // \\\" y\"; // z\nlet b = '\"'; let c = r#\"p\"q\"#; f::<'a>();";
        let text: Vec<&str> = stretches(source)
            .into_iter()
            .filter(|(kind, _)| *kind == Kind::Text)
            .map(|(_, text)| text)
            .collect();
        assert_eq!(text, ["\"x // \\\" y\"", "// z", "r#\"p\"q\"#"]);
        let whole: String = stretches(source).iter().map(|(_, text)| *text).collect();
        assert_eq!(whole, source);
    }
}
