//! Plans the reads of a pass: the images and masks that its requests need.

use std::collections::HashMap;
use std::sync::Arc;

use super::Request;
use crate::augment::Transform;
use crate::sample::Sample;
use crate::source::Source;

/// What a job reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Image,
    Masks,
    /// Both, for a source that gives them the same id.
    Both,
}

/// An image or masks to read and resize.
pub(super) struct Job {
    pub(super) source: Arc<dyn Source>,
    pub(super) id: String,
    pub(super) kind: Kind,
    /// A sample that is read for one request, and what happens to it.
    pub(super) changed: Option<(Sample, Transform)>,
}

/// The distinct jobs in order of first use, and for each request the indices of its image's and its masks' job. The two
/// may be the same; a request for a sample that does not exist has `None`.
pub(super) fn plan(
    samples: &[Sample],
    requests: &[Request],
) -> (Vec<Job>, Vec<Option<[usize; 2]>>) {
    let mut jobs: Vec<Job> = Vec::new();
    let mut known: HashMap<(String, Kind), usize> = HashMap::new();
    let mut uses = Vec::with_capacity(requests.len());
    for request in requests {
        let Some(sample) = samples.get(request.sample) else {
            uses.push(None);
            continue;
        };
        let source = &sample.source;
        if let Some(transform) = request.transform {
            uses.push(Some([jobs.len(); 2]));
            jobs.push(Job {
                source: Arc::clone(source),
                id: source.id().into_owned(),
                kind: Kind::Both,
                changed: Some((sample.clone(), transform)),
            });
            continue;
        }
        let (image, mask) = (source.id(), source.mask_id());
        let kinds = if image == mask {
            [Kind::Both; 2]
        } else {
            [Kind::Image, Kind::Masks]
        };
        let mut job = |id: &str, kind| {
            *known.entry((id.to_owned(), kind)).or_insert_with(|| {
                jobs.push(Job {
                    source: Arc::clone(source),
                    id: id.to_owned(),
                    kind,
                    changed: None,
                });
                jobs.len() - 1
            })
        };
        uses.push(Some([job(&image, kinds[0]), job(&mask, kinds[1])]));
    }
    (jobs, uses)
}
