//! CLIP's published vocabulary, taken out of the crate `instant-clip-tokenizer`.
//!
//! That crate carries the vocabulary but shows it only through `decode`, which gives the text of tokens. Every token's
//! bytes are read from there, and the merge that made it is found by encoding it with the merges before it.

use std::collections::HashMap;

use instant_clip_tokenizer::{Token, Tokenizer};

use super::{END_OF_TEXT, END_OF_WORD, Merges, START_OF_TEXT, TokenizerError, Vocabulary};

/// Tokens 0..256 are the bytes, 256..512 the bytes at the end of a word, then one token for each merge.
const BYTES: usize = 256;
const FIRST_MERGE: usize = 2 * BYTES;

/// CLIP's vocabulary and merges, as `vocab.json` and `merges.txt` have them.
pub(super) fn vocabulary() -> Result<(Vocabulary, Merges), TokenizerError> {
    let source = Tokenizer::new();
    let symbols = byte_symbols();
    let token_of_byte: HashMap<u8, u32> = symbols
        .iter()
        .zip(0..)
        .map(|(&(byte, _), token)| (byte, token))
        .collect();
    let symbol_of_byte: HashMap<u8, char> = symbols.iter().copied().collect();

    let mut strings: Vec<String> = symbols
        .iter()
        .map(|(_, symbol)| symbol.to_string())
        .collect();
    strings.extend(
        symbols
            .iter()
            .map(|(_, symbol)| format!("{symbol}{END_OF_WORD}")),
    );
    let mut merges = Merges::new();
    let mut ranks: HashMap<(u32, u32), u32> = HashMap::new();

    for id in FIRST_MERGE..usize::from(source.start_of_text().to_u16()) {
        let unusable =
            || TokenizerError::Embedded(format!("token {id} is not made of two earlier tokens"));
        let (bytes, ends_word) = token_bytes(&source, id, &token_of_byte).ok_or_else(unusable)?;
        let mut parts: Vec<u32> = bytes
            .iter()
            .filter_map(|b| token_of_byte.get(b).copied())
            .collect();
        if let (true, Some(last)) = (ends_word, parts.last_mut()) {
            *last += BYTES as u32;
        }
        apply_merges(&mut parts, &ranks);
        let &[a, b] = parts.as_slice() else {
            return Err(unusable());
        };
        ranks.insert((a, b), id as u32);
        merges.push((strings[a as usize].clone(), strings[b as usize].clone()));
        let mut string: String = bytes.iter().filter_map(|b| symbol_of_byte.get(b)).collect();
        if ends_word {
            string.push_str(END_OF_WORD);
        }
        strings.push(string);
    }
    strings.extend([START_OF_TEXT.to_owned(), END_OF_TEXT.to_owned()]);
    Ok((strings.into_iter().zip(0..).collect(), merges))
}

/// The printable character that stands for each byte, in the order of CLIP's first 256 tokens (`bytes_to_unicode`).
fn byte_symbols() -> Vec<(u8, char)> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255).filter(|b| !printable(b)).zip('\u{100}'..);
    (0..=255)
        .filter(printable)
        .map(|b| (b, char::from(b)))
        .chain(others)
        .collect()
}

/// A token's bytes and whether it ends a word.
///
/// `decode` replaces what is not UTF-8, and a token may begin or end inside a character. So the token is decoded between
/// bytes that complete such a character, which are then cut off again.
fn token_bytes(
    source: &Tokenizer,
    id: usize,
    token_of_byte: &HashMap<u8, u32>,
) -> Option<(Vec<u8>, bool)> {
    const BEFORE: [&[u8]; 4] = [&[], &[0xC3], &[0xE1], &[0xF1]];
    const AFTER: [&[u8]; 6] = [
        &[],
        &[0x80],
        &[0xA0],
        &[0x80, 0x80],
        &[0xA0, 0x80],
        &[0xA0, 0x80, 0x80],
    ];
    let token = |id: u32| Token::from_u16(u16::try_from(id).ok()?, source);
    let bytes = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|b| token(*token_of_byte.get(b)?))
            .collect::<Option<Vec<_>>>()
    };
    for before in BEFORE {
        for after in AFTER {
            let tokens = [bytes(before)?, vec![token(id as u32)?], bytes(after)?].concat();
            let text = source.decode(tokens);
            if !text.contains(char::REPLACEMENT_CHARACTER) {
                let (decoded, ends_word) = without_end_of_word(&text);
                return Some((
                    decoded.strip_prefix(before)?.strip_suffix(after)?.to_vec(),
                    ends_word,
                ));
            }
        }
    }
    // One token (39802) really is the replacement character.
    let text = source.decode([token(id as u32)?]);
    let (decoded, ends_word) = without_end_of_word(&text);
    Some((decoded.to_vec(), ends_word))
}

/// `decode` shows the end of a word as a space, and no token has one otherwise.
fn without_end_of_word(text: &str) -> (&[u8], bool) {
    match text.strip_suffix(' ') {
        Some(word) => (word.as_bytes(), true),
        None => (text.as_bytes(), false),
    }
}

/// Byte pair encoding: while any adjacent pair is known, all occurrences of the pair of lowest rank are merged.
fn apply_merges(parts: &mut Vec<u32>, ranks: &HashMap<(u32, u32), u32>) {
    while let Some(merged) = parts
        .windows(2)
        .filter_map(|w| ranks.get(&(w[0], w[1])))
        .min()
        .copied()
    {
        let mut i = 0;
        while i + 1 < parts.len() {
            if ranks.get(&(parts[i], parts[i + 1])) == Some(&merged) {
                parts[i] = merged;
                parts.remove(i + 1);
            }
            i += 1;
        }
    }
}
