//! BERT's vocabulary of word pieces, in `tokenizer.json`.

use serde_json::{Map, Value, json};

/// The tokens that open and close a sequence.
pub(super) const ENDS: [&str; 2] = ["[CLS]", "[SEP]"];

/// The special tokens, in BERT's order.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", ENDS[0], ENDS[1], "[MASK]"];

/// A `tokenizer.json` for a tower with random weights: lower case, as PubMedBERT's, with the printable characters of ASCII
/// for pieces. What is left of `size` ids has names that no text has; a smaller `size` leaves characters out.
pub fn letters(size: usize) -> Value {
    let special = SPECIAL.map(str::to_owned).into_iter();
    let letters = (b'!'..=b'~')
        .filter(|letter| !letter.is_ascii_uppercase())
        .map(char::from);
    let starts = letters.clone().map(String::from);
    let rest = letters
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| format!("##{letter}"));
    let unused = (0..).map(|number| format!("[unused{number}]"));
    let tokens = special.chain(starts).chain(rest).chain(unused).take(size);
    let vocabulary: Map<String, Value> = tokens.zip((0..).map(|id: u32| json!(id))).collect();
    let added = SPECIAL.iter().enumerate().map(|(id, token)| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": null,
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
}
