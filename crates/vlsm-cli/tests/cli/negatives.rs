//! `vlsm segments train` with negatives from a language model.

use serde_json::json;
use vlsm_train::TrainError;
use vlsm_train::segments::{SegmentRecipe, train_segments};

use crate::endpoint::Endpoint;
use crate::segments::{RECIPE, StopAfter};
use crate::semantic::make_streets;
use crate::support::Workshop;

/// The base classes are road, sky and car; sign is novel.
fn shop(endpoint: &str) -> Workshop {
    let shop = Workshop::new();
    make_streets(&shop);
    let asked = format!("negatives = {{ endpoint = \"{endpoint}\", model = \"tiny\", count = 2 }}");
    shop.write(
        "recipe.toml",
        RECIPE.replace("negatives = \"negatives.json\"", &asked),
    );
    shop
}

const TRAIN: [&str; 3] = ["segments", "train", "recipe.toml"];

/// An answer in the form that is asked for, a numbered list, and nonsense.
fn reply(prompt: &str) -> (u16, String) {
    let answer = match prompt {
        prompt if prompt.contains("\"car\"") => {
            "[\"toy car\", \"Sign\", \"road\", \"car park\", \"bus\"]"
        }
        prompt if prompt.contains("\"sky\"") => "Of course!\n1. **Blue wall**: painted\n2. toy car",
        _ => "I cannot help with that.",
    };
    (200, answer.to_owned())
}

#[test]
fn negatives_of_a_language_model_are_used_and_what_cannot_be_used_is_counted() {
    // The first request finds the server busy.
    let server = Endpoint::new(|number, prompt| match number {
        0 => (503, String::new()),
        _ => reply(prompt),
    });
    let shop = shop(&server.url);
    let summary = shop.ok_json(&TRAIN);
    let expected = json!({
        "model": "tiny", "classes": 3, "without": ["road"], "equal_to_class": 2, "repeated": 1, "unusable": 0
    });
    assert_eq!(
        (&summary["asked"], &summary["negatives"]),
        (&expected, &json!(4))
    );
    let used = json!({"car": ["car park", "bus"], "sky": ["Blue wall", "toy car"]});
    assert_eq!(shop.json("runs/recipe/negatives.json"), used);
    // Novel names are not sent.
    let prompts = server.prompts();
    assert_eq!(prompts.len(), 4);
    assert!(!prompts.concat().contains("sign"), "{prompts:?}");
    assert!(prompts[1].contains("List 2 other"), "{}", prompts[1]);

    // The same as from a file.
    let file = [&TRAIN[..], &["-o", "file", "--set"]].concat();
    shop.ok(&[&file[..], &["negatives=runs/recipe/negatives.json"]].concat());
    let adapter = |run: &str| shop.read(&format!("{run}/adapter.safetensors"));
    assert_eq!(adapter("runs/recipe"), adapter("file"));
    assert_eq!(server.prompts().len(), 4);
}

#[test]
fn an_interrupted_run_asks_no_question_twice() {
    let server = Endpoint::new(|_, prompt| reply(prompt));
    let shop = shop(&server.url);
    let here = |name: &str| shop.path(name).display().to_string();
    let recipe = |url: &str| {
        let overrides = [
            format!("base={}", here("base")),
            format!("data.root={}", here("streets")),
            format!("negatives.endpoint={url}"),
        ];
        SegmentRecipe::read(&shop.path("recipe.toml"), &overrides).unwrap()
    };
    let (up, down) = (recipe(&server.url), recipe("http://127.0.0.1:9/v1"));
    train_segments(&up, &shop.path("whole"), false, &mut ()).unwrap();
    let parts = shop.path("parts");
    let stopped = train_segments(&up, &parts, false, &mut StopAfter(7));
    assert!(matches!(stopped, Err(TrainError::Stopped)), "{stopped:?}");
    assert_eq!(server.prompts().len(), 6);

    // Without its answers it cannot be continued.
    let answers = shop.read("parts/answers.json");
    std::fs::remove_file(shop.path("parts/answers.json")).unwrap();
    let error = train_segments(&up, &parts, true, &mut ()).unwrap_err();
    assert!(error.to_string().contains("answers.json"), "{error}");
    shop.write("parts/answers.json", answers);
    train_segments(&down, &parts, true, &mut ()).unwrap();
    for file in ["metrics.jsonl", "adapter.safetensors", "negatives.json"] {
        let same = shop.read(&format!("whole/{file}")) == shop.read(&format!("parts/{file}"));
        assert!(same, "{file}");
    }
    assert_eq!(server.prompts().len(), 6);
}

#[test]
fn a_server_that_fails_or_answers_nonsense_is_an_error_that_names_the_fix() {
    let shop = shop("http://127.0.0.1:9/v1");
    let error = shop.fails(&TRAIN);
    assert!(
        error.contains("http://127.0.0.1:9/v1") && error.contains("is the server up?"),
        "{error}"
    );
    assert!(!shop.path("runs").exists());

    // It fails after the first class, whose answer is kept.
    let failing = Endpoint::new(|number, prompt| match number {
        1 => (404, "no such model".into()),
        _ => reply(prompt),
    });
    let url = format!("negatives.endpoint={}", failing.url);
    let train = [&TRAIN[..], &["--set", &url]].concat();
    let error = shop.fails(&train);
    assert!(error.contains("check the address"), "{error}");
    assert_eq!(shop.names("runs/recipe"), ["answers.json"]);
    shop.ok(&train);
    assert_eq!(failing.prompts().len(), 4);

    let nonsense = Endpoint::new(|_, _| (200, "As a model,\nI cannot.".into()));
    let url = format!("negatives.endpoint={}", nonsense.url);
    let error = shop.fails(&[&TRAIN[..], &["-o", "none", "--set", &url]].concat());
    assert!(
        error.contains("negatives.model") && error.contains("As a model, I cannot."),
        "{error}"
    );
    assert!(!shop.path("none").exists());
}
