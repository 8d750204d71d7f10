//! Tests of reading studies.

use vlsm_models::{Bottleneck, DenseConfig, LoraConfig};

use super::*;

const STUDY: &str = r#"
seeds = [41, 42]
prompts = ["random", "p1"]

[recipe.optim]
lr = 1e-4
[recipe.method]
bottleneck = 8

[[model]]
name = "tiny"
model.base = "builtin:tiny"
[[model]]
name = "other"
model.base = "b"
optim.lr = 1e-5

[[method]]
name = "zero-shot"
method.kind = "zero-shot"
[[method]]
name = "dense"
title = "dense adapters"
models = ["tiny"]
method.kind = "dense"
optim.lr = 1e-3

[[data]]
name = "kvasir"
title = "Kvasir-SEG"
data.root = "data/kvasir_polyp"
trainer.epochs = 2
[[data]]
name = "both"
data.pool = ["data/kvasir_polyp", "builtin:endoscopy"]
"#;

fn parse(text: &str, overrides: &[&str]) -> Parsed<Study> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Study::parse(text, "first", &overrides)
}

#[test]
fn cells_are_the_grid() {
    let study = parse(STUDY, &[]).unwrap();
    let labels: Vec<String> = study.cells.iter().map(Cell::label).collect();
    let of_data = |data: &str| {
        [
            "tiny/zero-shot/random",
            "tiny/zero-shot/p1",
            "tiny/dense/random/seed41",
            "tiny/dense/random/seed42",
            "tiny/dense/p1/seed41",
            "tiny/dense/p1/seed42",
            "other/zero-shot/random",
            "other/zero-shot/p1",
        ]
        .map(|label| format!("{data}/{label}"))
    };
    assert_eq!(labels, [of_data("kvasir"), of_data("both")].concat());
    let cell = &study.cells[4];
    let folder = Path::new("runs/first/runs/kvasir/tiny/dense/p1/seed41");
    assert_eq!(cell.folder.path, folder);
    let recipe = &cell.recipe;
    assert_eq!((recipe.optim.lr, recipe.trainer.epochs), (1e-3, 2));
    assert_eq!(recipe.trainer.seed, 41);
    let dense = DenseConfig {
        bottleneck: Bottleneck::All(8),
        ..DenseConfig::default()
    };
    assert_eq!(recipe.method.config, dense.into());
    assert_eq!(study.cells[6].recipe.optim.lr, 1e-5);
    assert_eq!(study.methods[1].title, "dense adapters");
    assert_eq!(study.cells[8].members, ["kvasir_polyp", "endoscopy"]);
}

/// A named training prompt is also the evaluation prompt, unless the file says otherwise.
#[test]
fn prompts_are_those_of_training_and_evaluation() {
    let evaluated = |overrides: &[&str]| {
        let study = parse(STUDY, overrides).unwrap();
        [&study.cells[2], &study.cells[4]].map(|cell| {
            let choice = cell.recipe.data.config.eval_prompt.as_ref();
            choice.map(ToString::to_string)
        })
    };
    assert_eq!(evaluated(&[]), [None, Some("p1".into())]);
    let set = evaluated(&["recipe.data.eval_prompt=p6"]);
    assert_eq!(set, [Some("p6".into()), Some("p6".into())]);
}

/// Method keys of the shared recipe apply to the kinds that have them. An entry may only have keys of its kind.
#[test]
fn shared_keys_are_for_the_methods_that_have_them() {
    let lora = "method.kind = \"lora\"";
    let text = STUDY
        .replace(
            "bottleneck = 8",
            "bottleneck = 8\nconnection = \"parallel\"",
        )
        .replace("method.kind = \"dense\"", lora);
    let study = parse(&text, &[]).unwrap();
    let methods = study.cells.iter().map(|cell| &cell.recipe.method.config);
    let methods: Vec<_> = methods.collect();
    let expected = LoraConfig {
        bottleneck: Bottleneck::All(8),
        ..LoraConfig::default()
    };
    assert_eq!(*methods[0], MethodConfig::zero_shot());
    assert_eq!(*methods[2], expected.into());
    let text = text.replace(lora, &format!("{lora}\nmethod.sublayers = \"mlp\""));
    let error = parse(&text, &[]).unwrap_err();
    for part in ["tiny/dense", "`method.sublayers` belongs to kind \"dense\""] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn overrides_can_change_every_part() {
    let study = parse(
        STUDY,
        &[
            "seeds=[7]",
            "out=elsewhere",
            "recipe.trainer.batch_size=3",
            "data.kvasir.data.root=PATH.with.dots",
            "data.both.data.root=x",
            "method.dense.optim.lr=5",
        ],
    )
    .unwrap();
    assert_eq!(study.cells.len(), 12);
    let recipe = &study.cells[2].recipe;
    assert_eq!((recipe.trainer.batch_size, recipe.optim.lr), (3, 5.0));
    assert_eq!(recipe.data.config.root, Path::new("PATH.with.dots"));
    assert!(study.cells[0].folder.path.starts_with("elsewhere/runs"));
}

#[test]
fn errors_name_the_entry_and_the_fix() {
    for (from, to, named) in [
        ("seeds", "seed", vec!["`seed`", "`seeds`"]),
        ("[recipe.optim]", "[optim]", vec!["`optim`", "[recipe]"]),
        (
            "optim.lr = 1e-3",
            "optim.rl = 1",
            vec!["[[method]] dense", "`optim.rl`", "`optim.lr`"],
        ),
        ("data.root", "root", vec!["[[data]] kvasir", "`data.root`"]),
        ("lr = 1e-4", "rate = 1e-4", vec!["[recipe]", "`optim.rate`"]),
        (
            "\"tiny\"]",
            "\"tyni\"]",
            vec!["[[method]] dense", "`models`", "`tiny`"],
        ),
        (
            "title = \"Kvasir-SEG\"",
            "models = []",
            vec!["[[data]] kvasir", "`models`"],
        ),
        (
            "name = \"other\"",
            "name = \"Tiny\"",
            vec!["[[model]] 2", "taken"],
        ),
        (
            "name = \"other\"",
            "name = \"a/b\"",
            vec!["`a/b`", "`title`"],
        ),
        ("name = \"other\"\n", "", vec!["[[model]] 2", "`name`"]),
        ("[41, 42]", "[41, 41]", vec!["`seeds`", "41 twice"]),
        ("[41, 42]", "[]", vec!["`seeds`"]),
        ("\"p1\"]", "\"random\"]", vec!["`prompts`", "random twice"]),
        ("\"p1\"]", "\"a b\", \"a-b\"]", vec!["`prompts`", "`a-b`"]),
        (
            "trainer.epochs = 2",
            "trainer.seed = 2",
            vec!["[[data]] kvasir", "`seeds`"],
        ),
        (
            "trainer.epochs = 2",
            "data.prompt = \"p1\"",
            vec!["[[data]] kvasir", "`prompts`"],
        ),
        (
            "trainer.epochs = 2",
            "trainer.epochs = 0",
            vec!["kvasir/tiny/", "trainer.epochs"],
        ),
        (
            "trainer.epochs = 2",
            "trainer.test = false",
            vec!["kvasir/tiny/", "trainer.test"],
        ),
        (
            "optim.lr = 1e-3",
            "method.profile = \"paper\"",
            vec!["tiny/dense", "`default`", "method.profile"],
        ),
        (
            "builtin:endoscopy",
            "x/kvasir_polyp",
            vec!["both/tiny", "`kvasir_polyp`"],
        ),
    ] {
        assert!(STUDY.contains(from), "{from}");
        let error = parse(&STUDY.replacen(from, to, 1), &[]).unwrap_err();
        for part in named {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
    let error = parse(STUDY, &["data.kvasri.data.root=x"]).unwrap_err();
    assert!(
        error.contains("[[data]]") && error.contains("kvasri"),
        "{error}"
    );
    let error = parse("seeds = [1]", &[]).unwrap_err();
    assert!(error.contains("[[data]]"), "{error}");
}

#[test]
fn a_list_of_folds_is_an_axis() {
    let folds = [
        "data.kvasir.data.split.folds=3",
        "seeds=[41]",
        "prompts=[\"p1\"]",
    ];
    let with = |fold: &str| {
        let fold = format!("data.kvasir.data.split.fold={fold}");
        parse(STUDY, &[&folds[..], &[&fold]].concat())
    };
    let study = with("[1, 2, 3]").unwrap();
    let labels = study.cells.iter().take(6).map(Cell::label);
    let expected = [
        "kvasir/tiny/zero-shot/p1/fold1",
        "kvasir/tiny/zero-shot/p1/fold2",
        "kvasir/tiny/zero-shot/p1/fold3",
        "kvasir/tiny/dense/p1/fold1/seed41",
        "kvasir/tiny/dense/p1/fold2/seed41",
        "kvasir/tiny/dense/p1/fold3/seed41",
    ];
    assert_eq!(labels.collect::<Vec<_>>(), expected);
    let cell = &study.cells[5];
    assert_eq!(cell.recipe.data.config.split.fold, Some(3));
    let folder = Path::new("runs/first/runs/kvasir/tiny/dense/p1/fold3/seed41");
    assert_eq!(cell.folder.path, folder);
    // Other data sets have no folds, and a number is an ordinary key.
    assert!(study.cells.iter().skip(9).all(|cell| cell.fold.is_none()));
    let study = with("2").unwrap();
    let cell = &study.cells[0];
    assert_eq!(
        (cell.fold, cell.recipe.data.config.split.fold),
        (None, Some(2))
    );
    for (fold, reason) in [
        ("[]", "is empty"),
        ("[4]", "has 4; use folds from 1 to 3"),
        ("[1, 1]", "has 1 twice"),
        ("[\"a\"]", "not a list of numbers"),
    ] {
        let error = with(fold).unwrap_err();
        assert!(
            error.contains("data.split.fold") && error.contains(reason),
            "{error}"
        );
    }
    let error = parse(STUDY, &["data.kvasir.data.split.fold=[1]"]).unwrap_err();
    assert!(error.contains("`data.split.folds` is not set"), "{error}");
}
