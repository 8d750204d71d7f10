//! `vlsm model import` and `vlsm model export`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vlsm_models::methods::Tensors;
use vlsm_models::onnx::{OnnxExport, OnnxModel};
use vlsm_models::tensor_file::{pytorch_metadata, write_safetensors};
use vlsm_models::{AdapterFile, Architecture, Base, Profile, base, peft};
use vlsm_train::RunFolder;

use crate::commands::shared::{adapter_file, check_new_file, make_parent};
use crate::output::{note, print, thousands};

/// Convert a checkpoint of the published code, or an adapter of peft, to an adapter file.
///
/// Reads PyTorch Lightning's .ckpt files and what `vlsm model export` writes: adapter blocks, or a
/// whole model whose decoder was trained. Of peft (0.21), reads a folder with a LoRA, a DoRA or an
/// IA3 on a CLIPSeg; --base is needed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm model import epoch=12.ckpt --base CIDAS/clipseg-rd64-refined \\
      -o adapter.safetensors
  vlsm model import peft_folder --base CIDAS/clipseg-rd64-refined \\
      -o adapter.safetensors")]
pub(crate) struct ImportArgs {
    /// The checkpoint file, or a folder with peft's adapter_config.json.
    checkpoint: PathBuf,
    /// The adapter file to write.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "FILE")]
    out: PathBuf,
    /// The base it was trained on: a folder, or a name on the hub. With it, the parameters are
    /// checked against the base, and the adapter file records the base. SAN and CRIS need it.
    #[arg(long)]
    base: Option<String>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

impl ImportArgs {
    pub(super) fn run(self) -> Result<()> {
        check_new_file(&self.out, self.force)?;
        let base = self.base.as_deref().map(load).transpose()?;
        let adapter = match (&base, peft::is_peft(&self.checkpoint)) {
            (Some(base), true) => peft::read(&self.checkpoint, base)?,
            (None, true) => bail!(
                "`{}` is an adapter of peft, which does not hold its base's shape; name the base with --base",
                self.checkpoint.display()
            ),
            (base, false) => AdapterFile::import(&self.checkpoint, base.as_ref())?,
        };
        make_parent(&self.out)?;
        adapter.write(&self.out)?;
        print_summary(&adapter.tensors, &self.out)
    }
}

/// Write an adapter, or a base, for other programs: the published PyTorch code, or any with ONNX.
///
/// Without --onnx the file has the names of the published state dict. Load it with
/// `safetensors.torch.load_file`, and the result with `load_state_dict`. Adapter blocks (methods
/// `dense` and `shallow`) are written alone: pass `strict=False`, since the base is not in the file.
/// Everything else is written as a whole model, with the trained parameters in it. Parameters that
/// the published code has no module for are refused.
///
/// With --onnx the file is a graph from pixels and text embeddings to logits, with base and adapter
/// in it.
///
/// With --peft it is a folder with adapter_config.json and adapter_model.safetensors, which peft
/// (0.21) loads onto Transformers' CLIPSegForImageSegmentation; for methods `lora` (with towers v, l
/// or vl), `dora` and `ia3`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm model export runs/clipseg_dense_vlc -o for_pytorch.safetensors
  vlsm model export bases/trained -o for_pytorch.safetensors
  vlsm model export runs/polyp --peft -o polyp_peft
  vlsm model export runs/polyp --onnx -o polyp.onnx
  vlsm model export runs/polyp --onnx -o polyp.onnx \\
      --prompt polyp --prompt light
  vlsm model export runs/polyp --onnx -o polyp.onnx \\
      --text-tower polyp_text.onnx")]
pub(crate) struct ExportArgs {
    /// The adapter file or its run's folder, or a base: a folder, a file of weights, or a name on
    /// the hub.
    #[arg(value_name = "ADAPTER_OR_BASE")]
    model: String,
    /// The file to write; with --peft a folder.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "FILE")]
    out: PathBuf,
    /// The base of the adapter [default: the one that the adapter file names].
    #[arg(long)]
    base: Option<String>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
    /// Write a folder for peft; it must not exist yet, or be empty.
    #[arg(long, conflicts_with_all = ["onnx", "force"])]
    peft: bool,
    /// Write an ONNX graph with the inputs `image` and `embedding` and the output `logits`.
    #[arg(long)]
    onnx: bool,
    /// What the graph segments when it is given no embedding; repeat it for several masks
    /// [default: the prompt that the run was validated under].
    #[arg(long, value_name = "TEXT", requires = "onnx")]
    prompt: Vec<String>,
    /// Also write the text tower's graph, from token ids to the embedding of any prompt.
    #[arg(long, value_name = "FILE", requires = "onnx")]
    text_tower: Option<PathBuf>,
    /// Side of the graph's input, in pixels [default: that of the training].
    #[arg(long, value_name = "PIXELS", requires = "onnx")]
    image_size: Option<usize>,
}

impl ExportArgs {
    pub(super) fn run(self) -> Result<()> {
        if self.peft {
            return self.for_peft();
        }
        check_new_file(&self.out, self.force)?;
        let adapter = self.adapter_path()?;
        if self.onnx {
            return self.graphs(adapter);
        }
        let tensors = if let Some(path) = adapter {
            self.adapter(AdapterFile::read(&path)?)?
        } else {
            let base = self.own_base()?;
            note_arithmetic(&base, Profile::Default);
            base.published(Profile::Default)
        };
        make_parent(&self.out)?;
        write_safetensors(&self.out, &tensors, &pytorch_metadata())?;
        print_summary(&tensors, &self.out)
    }

    /// The adapter file, unless the model is a base.
    fn adapter_path(&self) -> Result<Option<PathBuf>> {
        let path = Path::new(&self.model);
        let is_run = path.is_dir()
            && RunFolder {
                path: path.to_owned(),
            }
            .recipe()
            .is_file();
        if is_run {
            return adapter_file(path).map(Some);
        }
        let is_adapter = path.is_file() && !base::is_base(path)?;
        Ok(is_adapter.then(|| path.to_owned()))
    }

    /// The model, if it is a base.
    fn own_base(&self) -> Result<Base> {
        load(&self.model).with_context(|| match Path::new(&self.model).is_dir() {
            true => format!(
                "`{0}` is neither a run, which has a recipe.toml, nor a base; give the folder of a run, a base, or an adapter file",
                self.model
            ),
            false => format!("base `{}` cannot be loaded", self.model),
        })
    }

    /// The base that an adapter is for, if its name is known.
    fn base_of(&self, adapter: &AdapterFile) -> Result<Option<Base>> {
        let recorded = adapter.base.as_ref().map(|base| base.name.clone());
        let name = self.base.clone().or(recorded);
        let base = name.map(|name| {
            load(&name).with_context(|| {
                format!("the adapter's base is needed to export it, and `{name}` cannot be loaded; name it with --base")
            })
        });
        base.transpose()
    }

    /// Writes a folder for peft.
    fn for_peft(&self) -> Result<()> {
        let Some(path) = self.adapter_path()? else {
            self.own_base()?;
            bail!(
                "`{}` is a base; peft's files hold an adapter: name a run or an adapter file",
                self.model
            );
        };
        let adapter = AdapterFile::read(&path)?;
        let base = self.expect_base(&adapter)?;
        make_parent(&self.out)?;
        let tensors = peft::write(&adapter, &base, &self.out)?;
        print_summary(&tensors, &self.out)
    }

    /// The base that an adapter is for.
    fn expect_base(&self, adapter: &AdapterFile) -> Result<Base> {
        self.base_of(adapter)?.with_context(|| {
            format!(
                "adapter `{}` does not name its base; name it with --base",
                adapter.path.display()
            )
        })
    }

    /// Writes the ONNX graphs.
    fn graphs(&self, adapter: Option<PathBuf>) -> Result<()> {
        if let Some(file) = &self.text_tower {
            check_new_file(file, self.force)?;
            if *file == self.out {
                bail!("-o and --text-tower name the same file; give each graph its own");
            }
        }
        let adapter = adapter.as_deref().map(AdapterFile::read).transpose()?;
        let base = match &adapter {
            None => self.own_base()?,
            Some(adapter) => self.expect_base(adapter)?,
        };
        let mut prompts = self.prompt.clone();
        if prompts.is_empty() {
            let own = adapter.as_ref().map(|adapter| &adapter.inference.prompt);
            prompts.extend(own.cloned().flatten());
        }
        let mut export = OnnxExport::new(&base, adapter, self.image_size, &prompts)?;
        drop(base);
        write_graph(export.segmenter()?, &self.out)?;
        match &self.text_tower {
            Some(file) => write_graph(export.text()?, file),
            None => Ok(()),
        }
    }

    fn adapter(&self, adapter: AdapterFile) -> Result<Tensors> {
        adapter.check_published()?;
        let base = self.base_of(&adapter)?;
        if let Some(base) = &base {
            note_arithmetic(base, adapter.method.profile());
        }
        Ok(adapter.published(base.as_ref())?)
    }
}

fn load(name: &str) -> Result<Base> {
    Ok(Base::load(name, &vlsm_models::device("cpu")?)?)
}

/// Says where the published code computes something else with the parameters than vlsm did.
fn note_arithmetic(base: &Base, profile: Profile) {
    let architecture = base.network.architecture();
    let differs = matches!(architecture, Architecture::BiomedClip | Architecture::Cris);
    if differs && profile == Profile::Default {
        note(&format!(
            "note: the published {} computes as profile \"paper\" does, so its masks can differ from those of this model",
            architecture.name()
        ));
    }
}

fn write_graph(graph: OnnxModel, file: &Path) -> Result<()> {
    make_parent(file)?;
    graph.write(file)?;
    print(&format!(
        "{}: ONNX, {} operations, {:.1} MB\n",
        file.display(),
        graph.operations(),
        graph.bytes() as f64 / 1e6
    ))?;
    Ok(())
}

fn print_summary(tensors: &Tensors, path: &Path) -> Result<()> {
    let parameters = tensors.values().map(|tensor| tensor.data.len());
    print(&format!(
        "{}: {} tensors, {} parameters\n",
        path.display(),
        tensors.len(),
        thousands(parameters.sum())
    ))?;
    Ok(())
}
