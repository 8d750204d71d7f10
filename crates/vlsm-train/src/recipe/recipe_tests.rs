//! Tests of recipes.

use std::path::PathBuf;

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
            "method.kind=zero-shot",
            "trainer.max_steps=7",
            "method.layers=[1, 2]",
        ],
    )
    .unwrap();
    assert_eq!(recipe.optim.lr, 3e-4);
    assert_eq!(recipe.data.config.prompt.to_string(), "a large polyp");
    assert_eq!(recipe.trainer.max_steps, Some(7));
    assert_eq!(recipe.method.config.layers, Some(vec![1, 2]));
}

#[test]
fn one_data_set_or_a_pool() {
    let recipe = parse(LEAST, &["data.pool=[\"a\", \"b\"]"]).unwrap();
    assert_eq!(recipe.data.config.roots(), ["a", "b"].map(PathBuf::from));
    let recipe = parse(&recipe.to_toml().unwrap(), &["data.root=c"]).unwrap();
    assert_eq!(recipe.data.config.roots(), [PathBuf::from("c")]);
}

#[test]
fn unknown_keys_name_the_nearest() {
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
        ("data.workers=many", "`data.workers`"),
    ] {
        let error = parse(LEAST, &[key]).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
    assert!(parse("", &[]).unwrap_err().contains("model.base"));
    assert!(parse("[model\n", &[]).is_err());
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
