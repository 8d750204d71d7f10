//! CheXlocalize: ten findings outlined by radiologists in the validation and test images of CheXpert (Saporta et al.,
//! Nature Machine Intelligence 2022). Each finding present in an image is a sample, such as `airspace opacity`.
//!
//! Layout: the download of <https://stanfordaimi.azurewebsites.net/datasets/23c56a0d-15de-405b-87c8-99c30138950c>, as the
//! authors describe it (`rajpurkarlab/cheXlocalize`, `README.md`): images such as
//! `CheXpert/val/patient64541/study1/view1_frontal.jpg`, and masks in `CheXlocalize/gt_segmentations_val.json` and
//! `gt_segmentations_test.json`, by image (`patient64541_study1_view1_frontal`) and finding, as run lengths in COCO's
//! encoding; an absent finding has an empty mask.
//!
//! There is no official training set. As in the published comparison (`naamiinepal/medvlsm`,
//! `data/chexlocalize/anns`: 343, 115 and 115 patients) both sets are merged and their patients shuffled, 60 % for
//! training and 20 % each for validation and test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vlsm_image::{ImageError, read_json};

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Case, Cases, Picture, Plan, Target};
use crate::rle::Rle;
use vlsm_data::splitting::by_fraction;

pub(super) const SET: PublicSet = PublicSet {
    name: "chexlocalize",
    title: "CheXlocalize (ten findings, chest X-rays)",
    download: "https://stanfordaimi.azurewebsites.net/datasets/23c56a0d-15de-405b-87c8-99c30138950c",
    layout: "  CheXpert/val/patient64541/study1/view1_frontal.jpg\n  CheXpert/test/...\n  \
             CheXlocalize/gt_segmentations_val.json\n  CheXlocalize/gt_segmentations_test.json",
    folders: &["chexlocalize", "cheXlocalize_dataset"],
    plan,
};

/// The findings: their names in the files, and in prompts.
const FINDINGS: [(&str, &str); 10] = [
    ("Airspace Opacity", "airspace opacity"),
    ("Atelectasis", "atelectasis"),
    ("Cardiomegaly", "cardiomegaly"),
    ("Consolidation", "consolidation"),
    ("Edema", "edema"),
    ("Enlarged Cardiomediastinum", "enlarged cardiomediastinum"),
    ("Lung Lesion", "lung lesion"),
    ("Pleural Effusion", "pleural effusion"),
    ("Pneumothorax", "pneumothorax"),
    ("Support Devices", "support devices"),
];

/// Masks by finding.
type Findings = BTreeMap<String, Rle>;

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let sets = ["val", "test"];
    let file = |set: &str| format!("CheXlocalize/gt_segmentations_{set}.json");
    let [images, masks] = [sets.map(|set| format!("CheXpert/{set}")), sets.map(file)];
    let needed = [&images[0], &images[1], &masks[0], &masks[1]].map(String::as_str);
    let (_, base) = download.find(&[&needed])?;
    let mut patients: BTreeMap<String, Vec<Case<Vec<Target>>>> = BTreeMap::new();
    let (mut missing, mut total) = (Vec::new(), 0);
    for (images, masks) in images.iter().zip(&masks) {
        let (images, masks) = (base.join(images), base.join(masks));
        let by_image: BTreeMap<String, Findings> = read_json(&masks)?;
        total += by_image.len();
        for (id, findings) in by_image {
            let Some(image) = image_file(&images, &id) else {
                let reason = format!(
                    "`{}` has masks of `{id}`, which is not of the form PATIENT_STUDY_VIEW",
                    masks.display()
                );
                return Err(download.fault(reason));
            };
            if !image.is_file() {
                missing.push(image);
                continue;
            }
            let patient = id.split('_').next().unwrap_or_default().to_string();
            let case = case(&id, image, &masks, findings);
            patients.entry(patient).or_default().push(case);
        }
    }
    download.none_missing("images with masks are missing", missing, total)?;
    let splits = by_fraction(patients.into_values().collect(), [0.2, 0.2], seed);
    Ok(Plan {
        rule: format!(
            "patients of val and test together, shuffled with seed {seed}, 60 / 20 / 20 %"
        ),
        cases: Cases::Prompted {
            splits: splits.map(|patients| patients.into_iter().flatten().collect()),
            grey: true,
        },
    })
}

/// Path of an image: `patient64541_study1_view1_frontal` is `patient64541/study1/view1_frontal.jpg`.
fn image_file(folder: &Path, id: &str) -> Option<PathBuf> {
    let mut parts = id.splitn(3, '_');
    let (patient, study, view) = (parts.next()?, parts.next()?, parts.next()?);
    let is_name = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let path = folder.join(patient).join(study).join(format!("{view}.jpg"));
    [patient, study, view]
        .into_iter()
        .all(is_name)
        .then_some(path)
}

fn case(id: &str, image: PathBuf, masks: &Path, mut findings: Findings) -> Case<Vec<Target>> {
    let mut targets = Vec::new();
    for (key, class) in FINDINGS {
        let Some(rle) = findings.remove(key) else {
            continue;
        };
        let entry = format!("`{key}` of `{id}`");
        targets.push(Target {
            name: format!("{id}_{}.png", class.replace(' ', "_")),
            class,
            group: class,
            file: masks.to_path_buf(),
            read: Box::new(move |file| {
                let fault = |reason| ImageError::image(file, format!("{entry}: {reason}"));
                rle.decode().map_err(fault)
            }),
            only_if_present: true,
        });
    }
    Case {
        name: format!("{id}.jpg"),
        image: Picture::File(image),
        masks: targets,
    }
}
