//! The recipes in this repository.

use std::path::Path;

use vlsm::models::{Profile, Towers};
use vlsm_train::Recipe;
use vlsm_train::segments::SegmentRecipe;

#[test]
fn recipes_can_be_read_and_match_their_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name.starts_with("opendas_") {
            SegmentRecipe::read(&path, &[]).unwrap();
            continue;
        }
        let recipe = Recipe::read(&path, &[]).unwrap();
        // The checks below are for the paper's settings.
        if !name.starts_with("clipseg_") {
            continue;
        }
        count += 1;
        let method = &recipe.method.config;
        assert_eq!(recipe.model.base, "CIDAS/clipseg-rd64-refined");
        assert_eq!(recipe.model.image_size, Some(352));
        assert_eq!(recipe.data.config.prompt.to_string(), "random");
        let trainer = &recipe.trainer;
        assert_eq!(trainer.batch_size * trainer.accumulate, 32, "{name}");
        let (lr, kind) = match name.split('_').nth(1).unwrap() {
            "dense" => (1e-3, "dense"),
            "shallow" => (3e-4, "shallow"),
            "decoder" => (1e-3, "decoder"),
            "full" => (1e-5, "full"),
            other => panic!("{other}"),
        };
        assert_eq!((recipe.optim.lr, method.kind()), (lr, kind), "{name}");
        if let Some(towers) = name.split('_').nth(2) {
            let wanted = match towers {
                "v" => Towers::V,
                "vl" => Towers::Vl,
                _ => Towers::Vlc,
            };
            assert_eq!(method.towers(), Some(wanted), "{name}");
        }
        let as_published = kind != "full";
        assert_eq!(method.profile() == Profile::Paper, as_published, "{name}");
    }
    assert_eq!(count, 8);
}
