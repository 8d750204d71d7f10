//! Files that describe a data set.

use vlsm_data::{DataConfig, Dataset, Split, check};

use crate::with_files;

/// A grey PNG of 2x2 pixels with the levels 0, 1, 2 and 1.
const IMAGE: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x02\x00\x00\x00\x02\x08\x00\x00\x00\x00W\xddR\xf8\x00\x00\x00\x0eIDATx\x9cc``d`b\x04\x00\x00\x0f\x00\x05+\xdcdO\x00\x00\x00\x00IEND\xaeB`\x82";

/// Opens and checks a data set of two images with a file of this name and content.
fn data_set(name: &str, bytes: &[u8], configure: impl FnOnce(&mut DataConfig)) -> bool {
    let files = [
        ("images/a.png", IMAGE),
        ("images/b.png", IMAGE),
        ("masks/a.png", IMAGE),
        ("masks/b.png", IMAGE),
        (name, bytes),
    ];
    with_files(&files, |folder| {
        let mut config = DataConfig::new(folder);
        (config.split.val, config.split.test) = (0.0, 0.0);
        configure(&mut config);
        let _ = check(&config);
        let Ok(dataset) = Dataset::open(&config) else {
            return false;
        };
        for sample in Split::ALL.iter().flat_map(|split| dataset.split(*split)) {
            let choice = config.eval_choice(&sample.prompts);
            let _ = sample.fixed_prompt(&choice);
        }
        true
    })
}

/// `anns/train.json`.
pub fn annotations(bytes: &[u8]) -> bool {
    data_set("anns/train.json", bytes, |_| ())
}

/// `prompts.json`.
pub fn prompts(bytes: &[u8]) -> bool {
    data_set("prompts.json", bytes, |_| ())
}

/// `classes.json`, for masks with the ids 0, 1 and 2.
pub fn classes(bytes: &[u8]) -> bool {
    data_set("classes.json", bytes, |_| ())
}

/// The table of `data.group`.
pub fn subjects(bytes: &[u8]) -> bool {
    data_set("groups.csv", bytes, |config| {
        config.group = Some("groups.csv".to_owned());
        config.prompt = vlsm_data::PromptChoice::Text("an object".to_owned());
    })
}

/// A list of a split's images.
pub fn split_list(bytes: &[u8]) -> bool {
    data_set("train.txt", bytes, |config| {
        config.split.train_list = Some("train.txt".into());
        config.prompt = vlsm_data::PromptChoice::Text("an object".to_owned());
    })
}
