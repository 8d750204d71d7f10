//! How `vlsm eval` prints the scores of masks: as a table or as JSON.

use anyhow::Result;
use serde::Serialize;
use vlsm_train::evaluate::{MeanStd, Oracle};
use vlsm_train::{Evaluation, Metrics};

use crate::commands::shared::to_json;
use crate::output::table;

/// The metrics under one prompt set.
pub(super) struct SetResult<'a> {
    name: &'a str,
    metrics: Metrics,
    /// The metrics of each group, if the samples belong to several groups.
    groups: Vec<(&'a str, Metrics)>,
}

impl<'a> SetResult<'a> {
    pub(super) fn new(name: &'a str, evaluation: &'a Evaluation) -> Self {
        let mut groups = evaluation.groups();
        if groups.len() == 1 {
            groups.clear();
        }
        let of_group = |group| (group, evaluation.for_group(name, group));
        Self {
            name,
            metrics: evaluation.for_prompt_set(name),
            groups: groups.into_iter().map(of_group).collect(),
        }
    }
}

/// The table of scores, one row per prompt.
pub(super) fn table_text(results: &[SetResult<'_>]) -> String {
    let value = |metric: &MeanStd, digits: usize| {
        format!("{:.digits$} ± {:.digits$}", metric.mean, metric.std)
    };
    let row = |name: String, metrics: &Metrics| {
        let interval = metrics.dice.ci95.map_or("-".to_owned(), |[low, high]| {
            format!("{low:.3} to {high:.3}")
        });
        vec![
            name,
            metrics.samples.to_string(),
            value(&metrics.dice, 4),
            interval,
            value(&metrics.iou, 4),
            value(&metrics.hd95, 2),
            metrics.one_empty.to_string(),
        ]
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for result in results {
        let mark = result.metrics.oracle.mark();
        rows.push(row(format!("{}{mark}", result.name), &result.metrics));
        for (group, metrics) in &result.groups {
            rows.push(row(format!("  {group}"), metrics));
        }
    }
    let header = ["prompt", "n", "Dice", "95 %", "IoU", "HD95", "one empty"];
    table(&header, &rows)
        + "Mean ± standard deviation over samples, at the masks' own size; HD95 in pixels.\n\
           95 %: interval of the mean Dice, by bootstrap over images or patients.\n\
           one empty: samples where prediction or truth, but not both, has no foreground; their \
           HD95 is the image's diagonal.\n"
        + &notes(results)
}

/// What a reader of the numbers must know.
fn notes(results: &[SetResult<'_>]) -> String {
    let mut notes = String::new();
    let has = |oracle| results.iter().any(|result| result.metrics.oracle == oracle);
    if has(Oracle::Yes) || has(Oracle::Unknown) {
        notes += "oracle: words of these prompts were read from the true masks, which a user does not \
                  have (oracle?: the data set does not say).\n";
    }
    if let Some(few) = results.first().and_then(|result| result.metrics.few()) {
        notes += &format!("warning: {few}.\n");
    }
    notes
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json {
    /// Number of samples, however many prompts each has.
    samples: usize,
    /// The part of the model that has random weights, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    random: Option<&'static str>,
    dice: MeanStd,
    iou: MeanStd,
    hd95: MeanStd,
    one_empty: usize,
    prompts: serde_json::Map<String, serde_json::Value>,
}

/// The scores as one JSON object.
pub(super) fn json_text(
    evaluation: &Evaluation,
    samples: usize,
    random: Option<&'static str>,
    results: &[SetResult<'_>],
) -> Result<String> {
    let overall = evaluation.overall();
    let mut prompts = serde_json::Map::new();
    for result in results {
        let mut value = serde_json::to_value(&result.metrics)?;
        if let (Some(object), false) = (value.as_object_mut(), result.groups.is_empty()) {
            let groups = result.groups.iter();
            let groups: serde_json::Map<String, serde_json::Value> = groups
                .map(|(group, metrics)| Ok(((*group).to_owned(), serde_json::to_value(metrics)?)))
                .collect::<Result<_>>()?;
            object.insert("groups".to_owned(), groups.into());
        }
        prompts.insert(result.name.to_owned(), value);
    }
    to_json(&Json {
        samples,
        random,
        dice: overall.dice,
        iou: overall.iou,
        hd95: overall.hd95,
        one_empty: overall.one_empty,
        prompts,
    })
}
