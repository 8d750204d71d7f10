//! CAMUS: echocardiography of 500 patients in two- and four-chamber view at the end of diastole and systole, with three
//! structures outlined (Leclerc et al., TMI 2019): 1 the cavity of the left ventricle, 2 the myocardium, 3 the left
//! atrium. Each structure of an image is a sample.
//!
//! Layout: the download of <https://humanheart-project.creatis.insa-lyon.fr/database/> (collection CAMUS):
//! `database_nifti/patient0001/patient0001_2CH_ED.nii.gz` with `..._gt.nii.gz`, and the official 400, 50 and 50 patients
//! in `database_split/subgroup_training.txt`, `..._validation.txt`, `..._testing.txt`. Or the older archives of the
//! challenge, `training/` (450 patients) and `testing/` (50) with `.mhd` and `.raw` of the same names; there the
//! published set (`naamiinepal/medvlsm`, `data/camus/anns`: masks in `mask_1`, `mask_2`, `mask_3`) takes the first 50
//! patients of `training` for validation and `testing` for the test, numbered from 1 again. Patients are shuffled if there
//! are neither lists nor masks in `testing`.
//!
//! Images become PNGs with the same grey levels. They are not resampled, although the pixels may not be square.
//! Sequences are left out.

use std::path::{Path, PathBuf};

use vlsm_image::read_text;

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{
    Case, Cases, Picture, Plan, Target, eighty_ten_ten, eighty_ten_ten_rule, file_name,
};
use crate::scan::read_scan;

pub(super) const SET: PublicSet = PublicSet {
    name: "camus",
    title: "CAMUS (left heart, echocardiography)",
    download: "https://humanheart-project.creatis.insa-lyon.fr/database/ (collection CAMUS)",
    layout: "  CAMUS_public/database_nifti/patient0001/patient0001_2CH_ED.nii.gz     (and 2CH_ES, 4CH_ED, 4CH_ES)\n  \
             CAMUS_public/database_nifti/patient0001/patient0001_2CH_ED_gt.nii.gz\n  \
             CAMUS_public/database_split/subgroup_training.txt     (and _validation, _testing)\n\
             or, as in the older archives:\n  training/patient0001/patient0001_2CH_ED.mhd     (and .raw)\n  \
             training/patient0001/patient0001_2CH_ED_gt.mhd\n  testing/patient0001/...",
    folders: &["CAMUS_public", "CAMUS"],
    plan,
};

/// Structures by label.
const STRUCTURES: [(u8, &str); 3] = [
    (1, "left ventricular cavity"),
    (2, "myocardium"),
    (3, "left atrium cavity"),
];

/// View and time of a patient's four images.
const FRAMES: [&str; 4] = ["2CH_ED", "2CH_ES", "4CH_ED", "4CH_ES"];

/// The images of a patient.
type Patient = Vec<Case<Vec<Target>>>;

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let (layout, base) = download.find(&[&["database_nifti"], &["training"]])?;
    let (rule, splits) = match layout {
        0 => current(download, &base, seed)?,
        _ => older(download, &base, seed)?,
    };
    Ok(Plan {
        rule,
        cases: Cases::Prompted {
            splits: splits.map(|patients| patients.into_iter().flatten().collect()),
            grey: true,
        },
    })
}

fn current(download: &Download<'_>, base: &Path, seed: u64) -> Result<(String, [Vec<Patient>; 3])> {
    let nifti = base.join("database_nifti");
    let lists = base.join("database_split");
    if !lists.is_dir() {
        let patients = patients(download, download.folders(&nifti, "patient")?, "", "nii.gz")?;
        let rule = eighty_ten_ten_rule("no `database_split`: patients", seed);
        return Ok((rule, eighty_ten_ten(patients, seed)));
    }
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    for (split, list) in splits.iter_mut().zip(["training", "validation", "testing"]) {
        let text = read_text(&lists.join(format!("subgroup_{list}.txt")))?;
        let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
        let folders = names.map(|name| nifti.join(name)).collect();
        *split = patients(download, folders, "", "nii.gz")?;
    }
    Ok(("official lists of `database_split`".to_string(), splits))
}

fn older(download: &Download<'_>, base: &Path, seed: u64) -> Result<(String, [Vec<Patient>; 3])> {
    let training = download.folders(&base.join("training"), "patient")?;
    let mut training = patients(download, training, "", "mhd")?;
    let testing = base.join("testing");
    let has_masks = testing
        .join("patient0001/patient0001_2CH_ED_gt.mhd")
        .is_file();
    if !has_masks {
        let rule = eighty_ten_ten_rule("no masks in `testing`: patients of `training`", seed);
        return Ok((rule, eighty_ten_ten(training, seed)));
    }
    let testing = download.folders(&testing, "patient")?;
    // Patients are numbered from 1 in both folders.
    let testing = patients(download, testing, "testing_", "mhd")?;
    let rest = training.split_off(training.len().div_ceil(9));
    let rule = "train is `training` without its first ninth of patients, val is that ninth, test is `testing`, as published";
    Ok((rule.to_string(), [rest, training, testing]))
}

/// The images of the patients in `folders`; the prepared images' names start with `prefix`.
fn patients(
    download: &Download<'_>,
    folders: Vec<PathBuf>,
    prefix: &str,
    extension: &str,
) -> Result<Vec<Patient>> {
    let mut missing = Vec::new();
    let total = folders.len() * FRAMES.len() * 2;
    let mut file = |folder: &Path, stem: &str| {
        let file = folder.join(format!("{stem}.{extension}"));
        if !file.is_file() {
            missing.push(file.clone());
        }
        file
    };
    let patients = folders
        .iter()
        .map(|folder| {
            let frame = |frame| {
                let stem = format!("{}_{frame}", file_name(folder));
                let image = file(folder, &stem);
                let labels = file(folder, &format!("{stem}_gt"));
                case(&format!("{prefix}{stem}"), image, &labels)
            };
            FRAMES.into_iter().map(frame).collect()
        })
        .collect();
    download.none_missing("files are missing", missing, total)?;
    Ok(patients)
}

fn case(stem: &str, image: PathBuf, labels: &Path) -> Case<Vec<Target>> {
    let target = |(label, class): (u8, &'static str)| Target {
        name: format!("mask_{label}/{stem}_gt.png"),
        class,
        group: class,
        file: labels.to_path_buf(),
        read: Box::new(move |path| Ok(read_scan(path)?.mask_of(label, None))),
        only_if_present: false,
    };
    Case {
        name: format!("{stem}.png"),
        image: Picture::Scan(image),
        masks: STRUCTURES.into_iter().map(target).collect(),
    }
}
