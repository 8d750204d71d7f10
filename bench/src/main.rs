//! One measurement of vlsm, for `bench/run.py`, which also runs the PyTorch counterpart:
//! `cargo run -p vlsm-bench -- --base DIR --case train --method dense --batch 4`.
//!
//! A process measures one case, so that its peak memory is that of the case. Prints one line of JSON for each batch size.

#![allow(clippy::print_stdout)]

mod phases;
mod products;

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
    Base, ClipSegConfig, DenseConfig, MethodConfig, Model, Network, Precision, Preprocessing,
    Profile, SegmentationModel, Tokenizer, contract::select, device, is_cpu, on_pool,
};
use vlsm_alloc::MiMalloc;
use vlsm_train::loss::{LossConfig, dice_ce};
use vlsm_train::optimizer::{Optimizer, clip, global_norm};
use vlsm_train::targets::Targets;
use vlsm_train::{peak_memory, recipe::OptimConfig};

use phases::Phases;

/// The result of a measurement.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

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
    /// Images per training step; several sizes are measured one after another.
    #[arg(long, num_args = 1.., default_values_t = [4])]
    batch: Vec<usize>,
    /// Prompts for one image.
    #[arg(long, default_value_t = 1)]
    prompts: usize,
    /// Recompute activations in the backward pass.
    #[arg(long)]
    recompute: bool,
    /// Precision of the towers: f32, int8 (CPU) or bf16 (accelerators).
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Device: cpu, auto, or one that this build supports, such as cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Wait for the device after each phase of a step and print their seconds, which makes steps slower.
    #[arg(long)]
    phases: bool,
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
    /// Matrix products of the sizes of the vision tower.
    Products,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    Dense,
    Shallow,
    Lora,
    Decoder,
    Full,
}

fn main() -> Result<()> {
    vlsm_alloc::set_up();
    InstructionSet::requested()?;
    let args = Args::parse();
    let device = device(&args.device)?;
    if args.case == Case::Products {
        for batch in &args.batch {
            products::measure(*batch, &device)?;
        }
        return Ok(());
    }
    let texts = std::fs::read_to_string(&args.texts)?;
    let texts: Vec<&str> = texts.lines().collect();
    let base = Base::load(&args.base.to_string_lossy(), &device)?.with_precision(args.precision)?;
    vlsm_alloc::release_freed_memory();
    let (Network::ClipSeg(clipseg) | Network::BiomedClip(clipseg)) = &base.network else {
        return Err("only CLIPSeg and BiomedCLIPSeg bases can be measured".into());
    };
    let config = clipseg.config.clone();
    let side = base.preprocessing.image_size;
    if args.case == Case::Infer {
        let seconds = infer(&args, &base, &texts[..args.prompts])?;
        let line = serde_json::json!({
            "seconds_per_call": median(seconds.clone()),
            "step_seconds": seconds,
            "peak_bytes": peak_memory(),
        });
        print([line, Processor::measured().compared(None)]);
        return Ok(());
    }
    let models = args.batch.iter().map(|_| model(&args, &base));
    let models = models.collect::<Result<Vec<_>>>()?;
    // The models share the base's weights.
    drop(base.network);
    let mut processor = None;
    for (batch, model) in args.batch.iter().zip(models) {
        let input = Input {
            preprocessing: &base.preprocessing,
            tokenizer: &base.tokenizer,
            texts: &texts,
        };
        let measured = train(&args, model, input, *batch)?;
        let seconds = median(measured.seconds.clone()) / *batch as f64;
        let dense = args.method == Method::Dense;
        let operations = dense.then(|| dense_operations(&config, side)).transpose()?;
        let line = serde_json::json!({
            "batch": batch,
            "seconds_per_image": seconds,
            "step_seconds": measured.seconds,
            "first_step_seconds": measured.first_step,
            "phases": measured.phases,
            "first_loss": measured.losses.first(),
            "last_loss": measured.losses.last(),
            "peak_bytes": peak_memory(),
        });
        // Only the vision tower's arithmetic that dense training needs is counted.
        let rate = operations.map(|all| all / seconds);
        let processor: &Processor = processor.get_or_insert_with(Processor::measured);
        print([line, processor.compared(rate)]);
    }
    Ok(())
}

/// The peak rates of multiply-adds of the processor's instruction sets.
struct Processor {
    used: (InstructionSet, f64),
    widest: (InstructionSet, f64),
}

impl Processor {
    fn measured() -> Self {
        let used = InstructionSet::in_use();
        let widest = InstructionSet::available().next().unwrap_or(used);
        let peak = used.measured_peak();
        let widest_peak = if widest == used {
            peak
        } else {
            widest.measured_peak()
        };
        Self {
            used: (used, peak),
            widest: (widest, widest_peak),
        }
    }

    /// The fields of a line that compare its operations a second with the processor's peak.
    fn compared(&self, rate: Option<f64>) -> serde_json::Value {
        serde_json::json!({
            "operations_per_second": rate,
            "instruction_set": self.used.0.name(),
            "peak_flops": self.used.1,
            "share_of_peak": rate.map(|rate| rate / self.used.1),
            "widest_instruction_set": self.widest.0.name(),
            "widest_peak_flops": self.widest.1,
            "share_of_widest_peak": rate.map(|rate| rate / self.widest.1),
        })
    }
}

/// Prints objects as one line of JSON.
fn print(parts: [serde_json::Value; 2]) {
    let parts = parts.into_iter().filter_map(|part| match part {
        serde_json::Value::Object(fields) => Some(fields),
        _ => None,
    });
    println!("{}", serde_json::Value::Object(parts.flatten().collect()));
}

/// A base with what is trained.
fn model(args: &Args, base: &Base) -> Result<Model> {
    let kind = match args.method {
        Method::Dense => "dense",
        Method::Shallow => "shallow",
        Method::Lora => "lora",
        Method::Decoder => "decoder",
        Method::Full => "full",
    };
    let method: MethodConfig =
        serde_json::from_value(serde_json::json!({ "kind": kind, "profile": "paper" }))?;
    Ok(Model::new(base, method, 1)?)
}

/// Seconds of each call: one image with all prompts, to logits in host memory.
fn infer(args: &Args, base: &Base, prompts: &[&str]) -> Result<Vec<f64>> {
    let model = Model::new(base, MethodConfig::zero_shot(), 0)?.for_inference();
    let mut rng = SmallRng::seed_from_u64(1);
    let image = random_image(base.preprocessing.image_size, &mut rng);
    let run = || -> Result<f64> {
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
    (0..args.steps).map(|_| run()).collect()
}

/// What was measured of a training.
struct Training {
    /// Of each step after the first.
    seconds: Vec<f64>,
    first_step: f64,
    losses: Vec<f32>,
    /// Mean seconds of each phase after the first step.
    phases: Option<serde_json::Value>,
}

/// What is trained on.
#[derive(Clone, Copy)]
struct Input<'a> {
    preprocessing: &'a Preprocessing,
    tokenizer: &'a Tokenizer,
    texts: &'a [&'a str],
}

/// Steps of a training, each as in a first epoch: no prompt has been encoded yet.
fn train(args: &Args, model: Model, input: Input<'_>, batch: usize) -> Result<Training> {
    let (side, texts) = (input.preprocessing.image_size, input.texts);
    let out = model.output_size(side)?;
    let mut rng = SmallRng::seed_from_u64(1);
    let examples: Vec<Example> = (0..batch)
        .map(|index| Example {
            transform: None,
            sample: index,
            prompt: texts[index % texts.len()].to_owned(),
            image: Some(Arc::new(random_image(side, &mut rng))),
            mask: Arc::new(Mask::from_fn(out, out, |_, _| rng.random_range(0..2))),
            original: None,
            labels: None,
        })
        .collect();
    let prompts: Vec<&str> = examples.iter().map(|one| one.prompt.as_str()).collect();
    let mut model = model.with_recompute(args.recompute).for_training();
    let device = model.device();
    let optim = OptimConfig::default();
    let mut rules = Optimizer::new(&optim);
    let mut phases = Phases::new(args.phases, &device);
    let mut measured = Training {
        seconds: Vec::new(),
        first_step: 0.0,
        losses: Vec::new(),
        phases: None,
    };
    for step in 0..=args.steps {
        let started = Instant::now();
        phases.start();
        let images = examples.iter().filter_map(|one| one.image.as_deref());
        let images: Vec<&RgbImage> = images.collect();
        let pixels = input.preprocessing.tensor(&images, &device)?;
        let Targets { target, valid } = Targets::new(&examples, &device);
        phases.end("upload")?;
        let encoder =
            PromptEncoder::training(input.tokenizer).with_states(PromptStates::for_model(&model)?);
        let text = encoder.encode(&model, &prompts)?;
        phases.end("text")?;
        let features = model.encode_image(pixels)?;
        phases.end("vision")?;
        let logits = model.decode(&features, text)?;
        phases.end("decoder")?;
        let loss = dice_ce(logits, target, valid, Profile::Paper, LossConfig::default());
        phases.end("loss")?;
        let value = loss.clone().inner();
        let gradients = on_pool(|| take_gradients(&model, &mut loss.backward()));
        phases.end("backward")?;
        // As the trainer does: one wait for an accelerator, after all work of the step is queued.
        if is_cpu(&device) {
            let norm = global_norm(&gradients);
            let gradients = clip(gradients, norm, optim.clip);
            phases.end("norm")?;
            model = on_pool(|| rules.step(model, gradients, optim.lr));
        } else {
            (model, _) = rules.clipped_step(model, gradients, optim.clip, optim.lr);
        }
        phases.end("optimizer")?;
        measured.losses.push(value.into_scalar::<f32>());
        device.sync()?;
        let seconds = started.elapsed().as_secs_f64();
        match step {
            0 => {
                measured.first_step = seconds;
                phases.clear();
            }
            _ => measured.seconds.push(seconds),
        }
    }
    measured.phases = phases.means(args.steps);
    Ok(measured)
}

fn random_image(side: usize, rng: &mut SmallRng) -> RgbImage {
    RgbImage::from_fn(side, side, |_, _| rng.random())
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
