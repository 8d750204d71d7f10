//! Tests of recipes.

use std::path::PathBuf;

use vlsm_models::{Bottleneck, LoraConfig, MethodConfig, ShallowConfig};

use super::*;

const LEAST: &str = "[model]\nbase = \"b\"\n[data]\nroot = \"d\"\n";

fn parse(text: &str, overrides: &[&str]) -> std::result::Result<Recipe, String> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::parse(text, &overrides)
}

#[test]
fn defaults_fill_in_and_read_back() {
    let recipe = parse(LEAST, &[]).unwrap();
    assert_eq!(recipe.optim.lr, 1e-3);
    assert_eq!(parse(&recipe.to_toml().unwrap(), &[]).unwrap(), recipe);
}

#[test]
fn overrides_win() {
    let recipe = parse(
        LEAST,
        &[
            "optim.lr=3e-4",
            "data.prompt=a large polyp",
            "data.eval_prompt=p1",
            "method.kind=shallow",
            "trainer.max_steps=7",
            "method.layers=[1, 2]",
        ],
    )
    .unwrap();
    assert_eq!(recipe.optim.lr, 3e-4);
    assert_eq!(recipe.data.config.prompt.to_string(), "a large polyp");
    assert_eq!(recipe.trainer.max_steps, Some(7));
    let shallow = ShallowConfig {
        layers: Some(vec![1, 2]),
        ..ShallowConfig::default()
    };
    assert_eq!(recipe.method.config, shallow.into());
}

#[test]
fn one_data_set_or_a_pool() {
    let recipe = parse(LEAST, &["data.pool=[\"a\", \"b\"]"]).unwrap();
    assert_eq!(recipe.data.config.roots(), ["a", "b"].map(PathBuf::from));
    let recipe = parse(&recipe.to_toml().unwrap(), &["data.root=c"]).unwrap();
    assert_eq!(recipe.data.config.roots(), [PathBuf::from("c")]);
}

#[test]
fn errors_for_unknown_keys_name_the_most_similar_key() {
    for (key, nearest) in [
        ("optim.learning_rate=1", "optim."),
        ("trainer.batchsize=1", "`trainer.batch_size`"),
        ("data.promt=x", "`data.prompt`"),
        ("method.botleneck=2", "`method.bottleneck`"),
        ("data.split.vall=0.1", "`data.split.val`"),
        ("method.profil=paper", "`method.profile`"),
        ("root=x", "`data.root`"),
    ] {
        let error = parse(LEAST, &[key]).unwrap_err();
        assert!(error.contains(nearest), "{error}");
    }
}

#[test]
fn wrong_values_name_the_key() {
    for (key, named) in [
        ("optim.lr=0", "optim.lr"),
        ("optim.lr=fast", "optim.lr"),
        ("trainer.batch_size=0", "trainer.batch_size"),
        ("trainer.batch_size=-1", "trainer.batch_size"),
        ("method.kind=denser", "`method.kind`"),
        ("optim.betas=[0.9]", "optim.betas"),
        ("cache.dtype=f64", "cache.dtype"),
        ("cache.max_gb=-1", "cache.max_gb"),
        ("loss.dice=-1", "loss.dice"),
        (
            "method.bottleneck=wide",
            "`method.bottleneck`: expected a width, or a list",
        ),
        ("method.activation=swish", "`method.activation`"),
        ("optim.eps=0", "optim.eps"),
        ("optim.plateau_factor=2", "optim.plateau_factor"),
        ("optim.min_lr=0.1", "optim.min_lr"),
        (
            "optim.warmup_steps=9000000000000000000",
            "optim.warmup_steps",
        ),
        ("trainer.epochs=9000000000000000000", "trainer.epochs"),
        ("trainer.min_delta=nan", "trainer.min_delta"),
        ("data.eval_limit=0", "data.eval_limit"),
        ("trainer.test_prompts=[\"random\"]", "trainer.test_prompts"),
        (
            "trainer.seed=18446744073709551615",
            "at most 9223372036854775807",
        ),
        ("trainer.seed=-1", "trainer.seed"),
        ("data.workers=many", "`data.workers`"),
    ] {
        let error = parse(LEAST, &[key]).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
    let error = parse(LEAST, &["loss.dice=0", "loss.cross_entropy=0"]).unwrap_err();
    assert!(error.contains("loss.cross_entropy"), "{error}");
    assert!(parse("", &[]).unwrap_err().contains("model.base"));
    assert!(parse("[model\n", &[]).is_err());
}

#[test]
fn keys_of_another_kind_name_the_kinds_that_have_them() {
    for (overrides, parts) in [
        (
            vec!["method.projections=[\"key\"]"],
            [
                "`method.projections` belongs to kinds \"lora\"",
                "\"dense\"",
            ],
        ),
        (
            vec!["method.kind=decoder", "method.layers=[1]"],
            [
                "`method.layers` belongs to kinds \"dense\", \"shallow\"",
                "\"decoder\"",
            ],
        ),
        (
            vec!["method.statistics=batch"],
            [
                "`method.statistics` belongs to kinds \"decoder\", \"full\"",
                "\"dense\"",
            ],
        ),
    ] {
        let error = parse(LEAST, &overrides).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

/// If an override chooses another kind, the file's keys that this kind does not have are dropped.
#[test]
fn overriding_the_kind_drops_keys_that_it_does_not_have() {
    let text = format!("{LEAST}[method]\nbottleneck = 3\nconnection = \"parallel\"\n");
    let recipe = parse(&text, &["method.kind=lora"]).unwrap();
    let lora = LoraConfig {
        bottleneck: Bottleneck::All(3),
        ..LoraConfig::default()
    };
    assert_eq!(recipe.method.config, lora.into());
    let recipe = parse(&text, &["method.kind=zero-shot"]).unwrap();
    assert_eq!(recipe.method.config, MethodConfig::zero_shot());
}

#[test]
fn differences_name_keys() {
    let a = parse(LEAST, &[]).unwrap();
    let b = parse(LEAST, &["optim.lr=1", "trainer.max_steps=3"]).unwrap();
    assert_eq!(
        a.differences(&b).unwrap(),
        ["optim.lr", "trainer.max_steps"]
    );
}

#[test]
fn a_text_may_look_like_a_number_or_a_date() {
    let set = [
        "data.root=2024",
        "data.prompt=2024-01-01",
        "method.init_from=3",
    ];
    let recipe = parse(LEAST, &set).unwrap();
    assert_eq!(recipe.data.config.root, PathBuf::from("2024"));
    assert_eq!(recipe.data.config.prompt.to_string(), "2024-01-01");
    assert_eq!(recipe.method.init_from, Some("3".into()));
}

#[test]
fn a_resumed_run_may_change_what_changes_no_number() {
    let recipe = parse(LEAST, &[]).unwrap();
    let changes = |set: &[&str]| {
        parse(LEAST, set)
            .unwrap()
            .changes_on_resume(&recipe)
            .unwrap()
    };
    let harmless = [
        "data.root=elsewhere/d",
        "data.workers=7",
        "model.base=other/b",
        "trainer.checkpoint_every=3",
        "trainer.epochs=200",
        "trainer.eval_batch_size=1",
        "trainer.min_epochs=3",
        "trainer.patience=50",
        "trainer.test=false",
    ];
    assert_eq!(changes(&harmless), [""; 0]);
    let harmful = ["data.eval_limit=3", "optim.lr=1", "trainer.data_parallel=2"];
    assert_eq!(
        changes(&harmful),
        ["data.eval_limit", "optim.lr", "trainer.data_parallel"]
    );
    // A study must not mix data sets under one name.
    let moved = parse(LEAST, &harmless[..1]).unwrap();
    assert_eq!(moved.changes_since(&recipe).unwrap(), ["data.root"]);
}

#[test]
fn the_learning_rate_suits_the_method_unless_it_is_given() {
    for (set, lr) in [
        (&["method.kind=dense"][..], 1e-3),
        (&["method.kind=shallow"], 3e-4),
        (&["method.kind=full"], 1e-5),
        (&["method.kind=full", "optim.lr=2e-3"], 2e-3),
        (&["method.kind=full", "optim.clip=1"], 1e-5),
    ] {
        assert_eq!(parse(LEAST, set).unwrap().optim.lr, lr, "{set:?}");
    }
}
