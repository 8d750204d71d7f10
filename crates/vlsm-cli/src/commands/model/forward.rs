//! `vlsm model forward`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use burn::tensor::{Tensor, TensorData};
use vlsm_models::predict::logits;
use vlsm_models::tensor_file::{self, HostTensor, IntTensor, TensorFile};
use vlsm_models::weights::to_host;
use vlsm_models::{Precision, SegmentationModel};

use crate::commands::shared::{adapter_file, check_new_file, make_parent, segmenter};
use crate::output::print;

/// Run a model on prepared tensors, to compare it with another implementation.
///
/// Reads `pixel_values` [batch, 3, side, side] (normalised) and `input_ids` [batch, length] (token
/// ids). Writes `logits` [batch, 1, side, side] as the published code returns them. An
/// `attention_mask` is ignored: CLIP's text attention is causal and the prompt is read at its
/// end-of-text token, so the padding after it has no effect; BERT's padding is found by its token id.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model forward --base bases/tiny --batch batch.safetensors \\
      --output logits.safetensors")]
pub(crate) struct Args {
    /// The base: a folder, or a name on the hub.
    #[arg(long)]
    base: String,
    /// An adapter file, or a run's folder.
    #[arg(long, value_name = "FILE_OR_RUN")]
    adapter: Option<PathBuf>,
    /// The safetensors file to read the inputs from.
    #[arg(long, value_name = "FILE")]
    batch: PathBuf,
    /// The safetensors file to write the logits to.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "FILE")]
    out: PathBuf,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
    /// Device: cpu, auto, or one that `vlsm devices` lists, such as cuda or cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Precision of the towers' linear layers: `f32`, or for CLIPSeg and BiomedCLIPSeg `f16`, `int8` on the CPU and `bf16` on accelerators.
    #[arg(long, value_name = "NAME", default_value = "f32")]
    precision: Precision,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        check_new_file(&self.out, self.force)?;
        let (pixels, prompts) = read_batch(tensor_file::read(&self.batch)?)
            .with_context(|| format!("batch `{}`", self.batch.display()))?;
        let adapter = self.adapter.as_deref().map(adapter_file).transpose()?;
        let segmenter = segmenter(
            &self.base,
            adapter.as_deref(),
            None,
            &self.device,
            self.precision,
        )?;
        let model = segmenter.model();
        model.output_size(pixels.shape[3])?;
        let tokens = model.tokens(&prompts)?;
        let pixels = TensorData::new(pixels.data, pixels.shape);
        let features = model.encode_image(Tensor::from_data(pixels, &model.device()))?;
        let images: Vec<usize> = (0..prompts.len()).collect();
        let logits = logits(model, &features, &images, model.encode_text(&tokens)?)?;
        let [batch, height, width] = logits.dims();
        let logits = HostTensor {
            shape: vec![batch, 1, height, width],
            data: to_host(logits),
        };
        make_parent(&self.out)?;
        let tensors = BTreeMap::from([("logits".to_owned(), logits)]);
        let metadata = tensor_file::pytorch_metadata();
        tensor_file::write_safetensors(&self.out, &tensors, &metadata)?;
        print(&format!(
            "{}: logits [{batch}, 1, {height}, {width}]\n",
            self.out.display()
        ))?;
        Ok(())
    }
}

/// Pixels `[batch, 3, side, side]`, and the token ids of one prompt per image.
fn read_batch(mut file: TensorFile) -> Result<(HostTensor, Vec<Vec<u32>>)> {
    let Some(pixels) = file.tensors.remove("pixel_values") else {
        bail!("has no floating-point tensor `pixel_values` [batch, 3, side, side]");
    };
    let Some(ids) = file.ints.remove("input_ids") else {
        bail!("has no integer tensor `input_ids` [batch, length]");
    };
    match pixels.shape[..] {
        [batch, 3, height, width] if height == width && batch > 0 => {}
        _ => bail!(
            "`pixel_values` is {:?}; it must be [batch, 3, side, side]",
            pixels.shape
        ),
    }
    let prompts = prompts(&ids, pixels.shape[0])?;
    Ok((pixels, prompts))
}

/// The rows of `input_ids`.
fn prompts(ids: &IntTensor, batch: usize) -> Result<Vec<Vec<u32>>> {
    let [rows, length] = ids.shape[..] else {
        bail!("`input_ids` is {:?}; it must be [batch, length]", ids.shape);
    };
    if rows != batch || length == 0 {
        bail!(
            "`input_ids` is {:?}, but `pixel_values` has {batch} images; give one prompt of at least one token for each image",
            ids.shape
        );
    }
    let id = |id: &i64| {
        u32::try_from(*id)
            .with_context(|| format!("`input_ids` has id {id}; token ids must not be negative"))
    };
    let rows = ids.data.chunks(length);
    rows.map(|row| row.iter().map(id).collect()).collect()
}
