//! Files of a run that are read back: curves, summaries and cached features.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use vlsm_data::{Arrays, Dataset, Prompts, Sample};
use vlsm_image::{Mask, RgbImage};
use vlsm_models::Model;
use vlsm_models::weights::to_host;
use vlsm_train::report::Curves;
use vlsm_train::{FeatureCache, Recipe, Report, ReportRun, Study};

use crate::models::with_base;
use crate::with_files;

/// `metrics.jsonl`; a report must be able to show the curves.
pub fn metrics(bytes: &[u8]) -> bool {
    with_files(&[("metrics.jsonl", bytes)], |folder| {
        let Ok(curves) = Curves::read(&folder.join("metrics.jsonl")) else {
            return false;
        };
        let run = ReportRun {
            name: "run".to_owned(),
            curves: Some(curves),
            ..ReportRun::default()
        };
        let report = Report {
            runs: vec![run],
            ..Report::default()
        };
        let page = report.html().expect("curves can be drawn");
        assert!(!page.contains("NaN"), "a chart without a scale");
        true
    })
}

/// A study of one finished run and one that is not started.
const STUDY: &str = r#"
seeds = [1, 2]
[[model]]
name = "tiny"
model.base = "builtin:tiny"
[[method]]
name = "decoder"
method.kind = "decoder"
[[data]]
name = "endoscopy"
data.root = "builtin:endoscopy"
"#;

const SCORES: &str = "sample,group,subject,prompt_set,oracle,prompt,dice,iou,hd95,one_empty
a,,a,p1,no,polyp,0.5,0.3333333333333333,1.5,false
b,,b,p1,no,polyp,1,1,0,true
";

/// The `summary.json` of a study's finished run, which gives an estimate for the other one.
pub fn summary(bytes: &[u8]) -> bool {
    with_files(&[], |folder| {
        let out = format!("out={:?}", folder.join("study"));
        let study = Study::parse(STUDY, "study", &[out]).expect("a study");
        let cell = &study.cells[0];
        let recipe = cell.recipe.to_toml().expect("a recipe");
        std::fs::create_dir_all(&cell.folder.path).expect("a temporary folder");
        for (path, bytes) in [
            (cell.folder.recipe(), recipe.as_bytes()),
            (cell.folder.scores(), SCORES.as_bytes()),
            (cell.folder.summary(), bytes),
        ] {
            std::fs::write(path, bytes).expect("a temporary file");
        }
        study
            .write_results()
            .expect("the tables do not need a summary");
        let plan = study.plan().expect("a study's runs");
        assert!(!plan.estimate_in_words().is_empty());
        plan.estimate().1 == 0
    })
}

/// A cache of features of one image.
struct Cached {
    model: Model,
    cache: FeatureCache,
    sample: Sample,
    /// The image's file.
    file: PathBuf,
    /// Its bytes as written by the cache.
    bytes: Vec<u8>,
    /// The features.
    values: Vec<Vec<f32>>,
    _folder: TempDir,
}

impl Cached {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let recipe = format!(
            "model.base = \"x\"\nmethod.kind = \"decoder\"\ndata.root = \"x\"\ncache = {{ features = \"on\", dir = {:?} }}",
            folder.path()
        );
        let recipe = Recipe::parse(&recipe, &[]).expect("a recipe");
        let image = RgbImage::from_fn(40, 30, |x, y| [x as u8, y as u8, 7]);
        let mask = Mask::from_fn(40, 30, |x, y| u8::from(x > y));
        let prompts = Prompts::from_texts(vec!["polyp".to_owned()]);
        let sample = Sample::new("a", Arc::new(Arrays::new("a", image, mask)), prompts);
        let splits = [vec![sample.clone()], Vec::new(), Vec::new()];
        let dataset = Dataset::from_splits("memory", splits).expect("one sample");
        let (model, cache) = with_base(|base| {
            let method = recipe.method.config.clone();
            let model = Model::new(base, method, 0).expect("a method of the base");
            let (preprocessing, identity) = (&base.preprocessing, &base.identity);
            let cache =
                FeatureCache::open(&model, &recipe, &dataset, preprocessing, identity, &mut ());
            (model, cache.expect("a cache").expect("a cache"))
        });
        let values = states(&model, &cache, &sample);
        let mut files = Vec::new();
        for set in std::fs::read_dir(folder.path()).expect("the cache") {
            let set = set.expect("the cache").path();
            files.extend(std::fs::read_dir(set).expect("the cache").flatten());
        }
        let file = files
            .iter()
            .map(std::fs::DirEntry::path)
            .find(|path| path.extension().is_some_and(|ext| ext == "features"));
        let file = file.expect("a file of features");
        Self {
            bytes: std::fs::read(&file).expect("a file of features"),
            model,
            cache,
            sample,
            file,
            values,
            _folder: folder,
        }
    }
}

fn states(model: &Model, cache: &FeatureCache, sample: &Sample) -> Vec<Vec<f32>> {
    let states = cache.states(model, &[sample]).expect("features");
    states.into_iter().map(to_host).collect()
}

thread_local! {
    static CACHED: Cached = Cached::new();
}

/// A valid file for [`features`].
pub fn valid_features() -> Vec<u8> {
    CACHED.with(|cached| cached.bytes.clone())
}

/// A file of the feature cache. One that is refused is written again; in both cases the features are those of the image.
pub fn features(bytes: &[u8]) -> bool {
    CACHED.with(|cached| {
        std::fs::write(&cached.file, bytes).expect("a temporary file");
        let values = states(&cached.model, &cached.cache, &cached.sample);
        assert!(values == cached.values, "other features than the image's");
        let left = std::fs::read(&cached.file).expect("a file of features");
        assert!(left == cached.bytes, "a damaged file is kept");
        bytes == left
    })
}
