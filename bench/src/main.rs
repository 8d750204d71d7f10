//! One measurement of vlsm, for `bench/run.py`, which also runs the PyTorch counterpart:
//! `cargo run -p vlsm-bench -- --base DIR --case train --method dense --batch 4`.
//!
//! A process measures one case, so that its peak memory is that of the case. Prints one line of JSON.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use vlsm::InstructionSet;
use vlsm::data::Example;
use vlsm::image::{Mask, RgbImage};
use vlsm::models::predict::{PromptEncoder, PromptStates};
use vlsm::models::weights::take_gradients;
use vlsm::models::{
    Base, ClipSegConfig, DenseConfig, MethodConfig, Model, Network, Precision, Profile,
    SegmentationModel, contract::select, device,
};
use vlsm_alloc::MiMalloc;
use vlsm_train::loss::{LossConfig, dice_ce};
use vlsm_train::optimizer::{Optimizer, clip, global_norm};
use vlsm_train::targets::Targets;
use vlsm_train::{peak_memory, recipe::OptimConfig};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// Folder of the base.
    #[arg(long)]
    base: PathBuf,
    #[arg(long)]
    case: Case,
    /// What is trained; ignored for inference.
    #[arg(long, value_enum, default_value_t = Method::Dense)]
    method: Method,
    /// Images per training step.
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Prompts for one image.
    #[arg(long, default_value_t = 1)]
    prompts: usize,
    /// Recompute activations in the backward pass.
    #[arg(long)]
    recompute: bool,
    /// Precision of the towers: f32, or int8.
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Device: cpu, or what this build has.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Measured steps, after one warm-up step.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// File with one prompt per line.
    #[arg(long, default_value = "bench/prompts.txt")]
    texts: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    Train,
    Infer,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    Dense,
    Shallow,
    Lora,
    Decoder,
    Full,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    vlsm_alloc::set_up();
    InstructionSet::requested()?;
    let args = Args::parse();
    let texts = std::fs::read_to_string(&args.texts)?;
    let texts: Vec<&str> = texts.lines().collect();
    let base = Base::load(&args.base.to_string_lossy(), &device(&args.device)?)?
        .with_precision(args.precision)?;
    vlsm_alloc::release_freed_memory();
    let (Network::ClipSeg(clipseg) | Network::BiomedClip(clipseg)) = &base.network else {
        return Err("only CLIPSeg and BiomedCLIPSeg bases can be measured".into());
    };
    let config = clipseg.config.clone();
    let mut rng = SmallRng::seed_from_u64(1);
    let side = base.preprocessing.image_size;
    let image = |rng: &mut SmallRng| RgbImage::from_fn(side, side, |_, _| rng.random());
    let (seconds, losses, steps) = match args.case {
        Case::Infer => {
            let model = Model::new(&base, MethodConfig::zero_shot(), 0)?.for_inference();
            let image = image(&mut rng);
            let prompts = &texts[..args.prompts];
            let run = || -> Result<f64, Box<dyn std::error::Error>> {
                let started = Instant::now();
                let pixels = base.preprocessing.tensor(&[&image], &model.device())?;
                let features = model.encode_image(pixels)?;
                let text = PromptEncoder::frozen(&base.tokenizer)?.encode(&model, prompts)?;
                let features = select(&features, &vec![0; prompts.len()]);
                let logits = model.decode(&features, text)?;
                std::hint::black_box(logits.into_data());
                Ok(started.elapsed().as_secs_f64())
            };
            run()?;
            let seconds: Result<Vec<f64>, _> = (0..args.steps).map(|_| run()).collect();
            {
                let seconds = seconds?;
                (median(seconds.clone()), Vec::new(), seconds)
            }
        }
        Case::Train => {
            let kind = match args.method {
                Method::Dense => "dense",
                Method::Shallow => "shallow",
                Method::Lora => "lora",
                Method::Decoder => "decoder",
                Method::Full => "full",
            };
            let method: MethodConfig =
                serde_json::from_value(serde_json::json!({ "kind": kind, "profile": "paper" }))?;
            let model = Model::new(&base, method, 1)?;
            let out = model.output_size(side)?;
            let examples: Vec<Example> = (0..args.batch)
                .map(|index| Example {
                    sample: index,
                    prompt: texts[index % texts.len()].to_owned(),
                    image: Some(Arc::new(image(&mut rng))),
                    mask: Arc::new(Mask::from_fn(out, out, |_, _| rng.random_range(0..2))),
                    original: None,
                    labels: None,
                })
                .collect();
            let prompts: Vec<&str> = examples.iter().map(|one| one.prompt.as_str()).collect();
            let mut model = model.with_recompute(args.recompute).for_training();
            drop(base.network);
            let optim = OptimConfig::default();
            let mut rules = Optimizer::new(&optim);
            let (mut seconds, mut losses) = (Vec::new(), Vec::new());
            for step in 0..=args.steps {
                let started = Instant::now();
                let images: Vec<&RgbImage> = examples
                    .iter()
                    .filter_map(|one| one.image.as_deref())
                    .collect();
                let pixels = base.preprocessing.tensor(&images, &model.device())?;
                let Targets { target, valid } = Targets::new(&examples, &model.device());
                // As in a first epoch: no prompt has been encoded yet.
                let encoder = PromptEncoder::training(&base.tokenizer)
                    .with_states(PromptStates::for_model(&model)?);
                let text = encoder.encode(&model, &prompts)?;
                let logits = model.decode(&model.encode_image(pixels)?, text)?;
                let loss = dice_ce(logits, target, valid, Profile::Paper, LossConfig::default());
                losses.push(loss.clone().inner().into_scalar::<f32>());
                let gradients = take_gradients(&model, &mut loss.backward());
                let norm = global_norm(&gradients);
                let gradients = clip(gradients, norm, optim.clip);
                model = rules.step(model, gradients, optim.lr);
                if step > 0 {
                    seconds.push(started.elapsed().as_secs_f64() / args.batch as f64);
                }
            }
            (median(seconds.clone()), losses, seconds)
        }
    };
    let what = match args.case {
        Case::Train => "seconds_per_image",
        Case::Infer => "seconds_per_call",
    };
    // Operations a second, counting only the vision tower's arithmetic that dense training needs.
    let rate = (args.case == Case::Train && args.method == Method::Dense)
        .then(|| dense_operations(&config, side).map(|all| all / seconds))
        .transpose()?;
    let used = InstructionSet::in_use();
    let widest = InstructionSet::available().next().unwrap_or(used);
    let peak = used.measured_peak();
    let widest_peak = if widest == used {
        peak
    } else {
        widest.measured_peak()
    };
    println!(
        "{}",
        serde_json::json!({
            what: seconds,
            "step_seconds": steps,
            "instruction_set": used.name(),
            "peak_flops": peak,
            "share_of_peak": rate.map(|rate| rate / peak),
            "widest_instruction_set": widest.name(),
            "widest_peak_flops": widest_peak,
            "share_of_widest_peak": rate.map(|rate| rate / widest_peak),
            "first_loss": losses.first(),
            "last_loss": losses.last(),
            "peak_bytes": peak_memory(),
        })
    );
    Ok(())
}

/// Floating-point operations of the vision tower for one image of dense training (`paper`): the forward pass, and in the backward
/// pass the gradients at inputs down to the first adapter and at the adapters' weights. Text tower, decoder and elementwise
/// operations are left out.
fn dense_operations(config: &ClipSegConfig, side: usize) -> vlsm::models::Result<f64> {
    let vision = &config.vision_config;
    let method = DenseConfig {
        profile: Profile::Paper,
        ..DenseConfig::default()
    };
    let tokens = ((side / vision.patch_size).pow(2) + 1) as f64;
    let (width, hidden) = (vision.hidden_size as f64, vision.intermediate_size as f64);
    let layers = (config.last_tap() + 1) as f64;
    let projections = 2.0 * tokens * 4.0 * width * width;
    let attention = 4.0 * tokens * tokens * width;
    let mlp = 2.0 * tokens * 2.0 * width * hidden;
    let sites = method.adapter_sites(&config.shape(method.profile))?;
    let hidden_units: usize = sites.vision.iter().map(|(_, units)| units).sum();
    let blocks = 2.0 * 2.0 * tokens * 2.0 * width * hidden_units as f64;
    let forward = layers * (projections + attention + mlp) + blocks;
    let backward = (layers - 1.0) * (projections + 2.0 * attention) + layers * mlp + 2.0 * blocks;
    Ok(forward + backward)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
