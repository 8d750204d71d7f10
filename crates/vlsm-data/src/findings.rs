//! Collects findings, and the kind of finding for each error.

use std::path::{Path, PathBuf};

use vlsm_image::ImageError;

use crate::error::DataError;
use crate::finding::{Finding, FindingKind, Severity};

/// Collects findings.
#[derive(Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    /// Adds a finding about these files.
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        files: &[&Path],
        message: String,
    ) {
        let files: Vec<PathBuf> = files.iter().map(|file| file.to_path_buf()).collect();
        self.0.push(Finding {
            severity,
            kind,
            path: files.first().cloned(),
            files: if files.len() > 1 { files } else { Vec::new() },
            message,
        });
    }

    /// Removes what is accepted, and adds the name to what can be.
    pub(crate) fn accept(&mut self, accept: &[FindingKind]) {
        self.0.retain(|finding| !accept.contains(&finding.kind));
        for finding in &mut self.0 {
            let name = format!(" [{}]", finding.kind);
            if finding.severity != Severity::Notice
                && FindingKind::ACCEPTABLE.contains(&finding.kind)
                && !finding.message.ends_with(&name)
            {
                finding.message += &name;
            }
        }
    }

    /// Adds an error. [`DataError::Unpaired`] becomes one finding for each file.
    pub(crate) fn fault(&mut self, fault: DataError) {
        if let DataError::Unpaired { images, masks } = &fault {
            for image in images {
                let message = format!(
                    "image `{}` has no mask; add the mask or remove the image",
                    image.display()
                );
                self.add(Severity::Error, FindingKind::Unpaired, &[image], message);
            }
            for mask in masks {
                let message = format!(
                    "mask `{}` has no image; add the image or remove the mask",
                    mask.display()
                );
                self.add(Severity::Error, FindingKind::Unpaired, &[mask], message);
            }
            return;
        }
        let files: Vec<&Path> = fault.path().into_iter().collect();
        self.add(Severity::Error, kind_of(&fault), &files, fault.to_string());
    }
}

fn kind_of(fault: &DataError) -> FindingKind {
    match fault {
        DataError::Image(ImageError::Json { .. } | ImageError::Encoding { .. }) => {
            FindingKind::Malformed
        }
        DataError::Image(ImageError::Pages { .. }) => FindingKind::MultiPage,
        DataError::Image(ImageError::Levels { .. }) => FindingKind::Levels,
        DataError::Image(ImageError::Classes { .. } | ImageError::Shape { .. }) => {
            FindingKind::Config
        }
        DataError::Image(_) | DataError::Source { .. } => FindingKind::Unreadable,
        DataError::SizeMismatch { .. } => FindingKind::SizeMismatch,
        DataError::UnnamedClass { .. } => FindingKind::UnnamedClass,
        DataError::Field { .. } | DataError::List { .. } => FindingKind::Entry,
        DataError::MissingFile { .. } => FindingKind::MissingFile,
        DataError::Layout { .. } => FindingKind::Layout,
        DataError::Unpaired { .. } | DataError::Ambiguous { .. } => FindingKind::Unpaired,
        DataError::EmptySplit { .. } => FindingKind::EmptySplit,
        DataError::NoPrompts { .. } | DataError::PromptName { .. } => FindingKind::Prompt,
        DataError::Guard { .. } => FindingKind::Levels,
        DataError::RandomEval
        | DataError::Config { .. }
        | DataError::Shape { .. }
        | DataError::Request { .. } => FindingKind::Config,
    }
}
