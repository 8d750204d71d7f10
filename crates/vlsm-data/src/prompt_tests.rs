use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn polyp() -> Prompts {
    serde_json::from_str(
        r#"{"p0":"","p1":"polyp","p10":"late","p7":["lump","tissue","bump"],"p2":null,"p3":[]}"#,
    )
    .unwrap()
}

#[test]
fn prompts_keep_the_order_of_the_file() {
    let prompts = polyp();
    assert_eq!(
        prompts.names().collect::<Vec<_>>(),
        ["p0", "p1", "p10", "p7"]
    );
    assert_eq!(prompts.get("p7").unwrap().len(), 3);
    let json = serde_json::to_string(&prompts).unwrap();
    assert_eq!(
        json,
        r#"{"p0":"","p1":"polyp","p10":"late","p7":["lump","tissue","bump"]}"#
    );
}

#[test]
fn a_prompt_of_the_wrong_type_is_an_error_with_the_expected_types() {
    let error = serde_json::from_str::<Prompts>(r#"{"p0": 5}"#).unwrap_err();
    assert!(
        error.to_string().contains("a string or a list of strings"),
        "{error}"
    );
}

#[test]
fn choices_are_read_and_written_as_text() {
    let cases = [
        ("p0", PromptChoice::Named("p0".into())),
        ("p12", PromptChoice::Named("p12".into())),
        ("random", PromptChoice::Random),
        ("p", PromptChoice::Text("p".into())),
        ("p1x", PromptChoice::Text("p1x".into())),
        ("", PromptChoice::Text(String::new())),
        ("a polyp", PromptChoice::Text("a polyp".into())),
        ("text:p1", PromptChoice::Text("p1".into())),
        ("text:text:x", PromptChoice::Text("text:x".into())),
        ("text:random", PromptChoice::Text("random".into())),
    ];
    for (text, choice) in cases {
        assert_eq!(text.parse::<PromptChoice>().unwrap(), choice);
        assert_eq!(choice.to_string(), text);
        let json = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<PromptChoice>(&json).unwrap(), choice);
    }
}

#[test]
fn random_is_uniform_over_all_names_but_the_first_and_then_over_the_texts() {
    let prompts = polyp();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut counts = BTreeMap::new();
    for _ in 0..9000 {
        *counts
            .entry(PromptChoice::Random.pick(&prompts, &mut rng).unwrap())
            .or_insert(0i32) += 1;
    }
    assert_eq!(
        counts.keys().collect::<Vec<_>>(),
        ["bump", "late", "lump", "polyp", "tissue"]
    );
    for (text, expected) in [
        ("polyp", 3000),
        ("late", 3000),
        ("lump", 1000),
        ("tissue", 1000),
        ("bump", 1000),
    ] {
        assert!(
            (counts[text] - expected).abs() < 150,
            "{text}: {}",
            counts[text]
        );
    }
}

#[test]
fn the_same_seed_draws_the_same_prompts() {
    let draw = |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..20)
            .map(|_| PromptChoice::Random.pick(&polyp(), &mut rng).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(41), draw(41));
    assert_ne!(draw(41), draw(42));
}

#[test]
fn evaluation_prompts_are_never_random() {
    let prompts = polyp();
    assert_eq!(
        PromptChoice::Named("p7".into())
            .pick_fixed(&prompts)
            .unwrap(),
        "lump"
    );
    assert_eq!(
        PromptChoice::Text("x".into())
            .pick_fixed(&Prompts::new())
            .unwrap(),
        "x"
    );
    let error = PromptChoice::Random
        .pick_fixed(&prompts)
        .unwrap_err()
        .to_string();
    assert!(error.contains("evaluation prompts are fixed"), "{error}");
    let error = PromptChoice::Named("p6".into())
        .pick_fixed(&prompts)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("p6") && error.contains("p0, p1, p10, p7"),
        "{error}"
    );
}

#[test]
fn the_default_for_evaluation_is_p1_or_the_first_with_a_text() {
    assert_eq!(
        PromptChoice::default_eval(&polyp()),
        PromptChoice::Named("p1".into())
    );
    let without = serde_json::from_str(r#"{"p0":"","p6":"short","p9":"a longer text"}"#).unwrap();
    assert_eq!(
        PromptChoice::default_eval(&without),
        PromptChoice::Named("p6".into())
    );
    assert_eq!(
        PromptChoice::default_eval(&Prompts::from_texts(vec!["sky".into()])),
        PromptChoice::Named("p1".into())
    );
}

#[test]
fn random_leaves_out_p0_by_its_name_wherever_it_is() {
    let drawn = |json: &str| {
        let prompts: Prompts = serde_json::from_str(json).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let draws = (0..200).map(|_| PromptChoice::Random.pick(&prompts, &mut rng).unwrap());
        draws
            .collect::<std::collections::BTreeSet<String>>()
            .into_iter()
            .collect::<Vec<_>>()
    };
    // Without `p0`, or with an empty list, which is left out on reading.
    assert_eq!(drawn(r#"{"p1":"a","p2":"b"}"#), ["a", "b"]);
    assert_eq!(drawn(r#"{"p0":[],"p1":"a","p2":"b"}"#), ["a", "b"]);
    assert_eq!(drawn(r#"{"p1":"a","p0":"","p2":"b"}"#), ["a", "b"]);
    assert_eq!(drawn(r#"{"none":"","p1":"a","p2":"b"}"#), ["a", "b"]);
    assert_eq!(drawn(r#"{"p0":"x","p1":"a"}"#), ["a"]);
    assert_eq!(drawn(r#"{"p0":""}"#), [""]);
    assert_eq!(drawn(r#"{"p1":"a"}"#), ["a"]);
}

#[test]
fn random_draws_of_published_sets_never_change() {
    let prompts: Prompts =
        serde_json::from_str(r#"{"p0":"","p1":"a","p2":"b","p3":["c","d"],"p4":"e"}"#).unwrap();
    let names = ["p1", "p2", "p3", "p4"];
    let (mut rng, mut expected) = (ChaCha8Rng::seed_from_u64(42), ChaCha8Rng::seed_from_u64(42));
    for _ in 0..100 {
        // A name, then one of several texts, each drawn as 32 bits.
        let texts = prompts
            .get(names[expected.random_range(0..4u32) as usize])
            .unwrap();
        let text = match texts.len() {
            1 => &texts[0],
            several => &texts[expected.random_range(0..several as u32) as usize],
        };
        assert_eq!(
            PromptChoice::Random.pick(&prompts, &mut rng).unwrap(),
            *text
        );
    }
}

#[test]
fn a_name_in_other_case_is_unclear() {
    for (text, name) in [
        ("P1", "p1"),
        ("P12", "p12"),
        ("Random", "random"),
        (" p1", "p1"),
    ] {
        let error = text.parse::<PromptChoice>().unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{name}`")) && error.contains("`text:"),
            "{error}"
        );
        let literal: PromptChoice = format!("text:{text}").parse().unwrap();
        assert_eq!(literal, PromptChoice::Text(text.into()));
        assert_eq!(literal.to_string(), format!("text:{text}"));
    }
    assert!(serde_json::from_str::<PromptChoice>(r#""P1""#).is_err());
}

/// Training on `p2` or on a text is judged by the same; training on random prompts by the class name.
#[test]
fn evaluation_uses_the_training_prompt_unless_that_is_random() {
    let prompts = serde_json::from_str(r#"{"p0":"","p1":"polyp","p2":"round polyp","p6":"x"}"#);
    let prompts: Prompts = prompts.unwrap();
    for (training, evaluation) in [
        ("p2", "p2"),
        ("p0", "p0"),
        ("a lesion", "a lesion"),
        ("random", "p1"),
    ] {
        let mut config = crate::DataConfig::new("d");
        config.prompt = training.parse().unwrap();
        assert_eq!(config.eval_choice(&prompts).to_string(), evaluation);
        config.eval_prompt = Some("p6".parse().unwrap());
        assert_eq!(config.eval_choice(&prompts).to_string(), "p6");
    }
}
