//! Exchange of LoRA, DoRA and IA3 on CLIPSeg with Hugging Face's peft (0.21): a folder with `adapter_config.json` and
//! `adapter_model.safetensors`, which peft loads onto Transformers' `CLIPSegForImageSegmentation`.

mod config;
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use vlsm_image::fs::write_folder;
use vlsm_image::write_atomic_bytes;

use self::config::{Kind, PeftConfig};
use self::site::{Site, parameters};
use crate::adapter_file::{AdapterFile, PEFT};
use crate::base::Base;
use crate::error::{ModelError, Result};
use crate::files::read_config;
use crate::methods::{
    AdapterSites, BaseShape, Bottleneck, DoraConfig, Ia3Config, LoraConfig, MethodConfig, Profile,
    Projection, Tensors, Towers,
};
use crate::registry::{Architecture, Model};
use crate::tensor_file::{self, HostTensor};

/// The configuration, in a folder of peft.
pub const CONFIG: &str = "adapter_config.json";
/// The tensors, in a folder of peft.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// Refuses a base whose parameters have other names than Transformers' class.
fn check_base(base: &Base) -> Result<BaseShape> {
    let architecture = base.network.architecture();
    if architecture != Architecture::ClipSeg {
        return Err(ModelError::Method(format!(
            "peft's files are for Transformers' CLIPSeg, and base `{}` is a {}; use a CLIPSeg",
            base.identity.name,
            architecture.name()
        )));
    }
    Ok(base.network.config().shape(Profile::Default))
}

/// Whether a path is a folder that peft wrote.
pub fn is_peft(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// Reads a folder that peft wrote as an adapter of a base.
///
/// # Errors
/// If a key of the configuration is unknown or says something that no method here computes, or the tensors do not fit the base.
pub fn read(folder: &Path, base: &Base) -> Result<AdapterFile> {
    let shape = check_base(base)?;
    let PeftConfig { kind, scale } = read_config(&folder.join(CONFIG), PeftConfig::parse)?;
    let path = folder.join(WEIGHTS);
    let file = tensor_file::read(&path)?;
    file.expect_finite(&path)?;
    let wrong = |message: String| ModelError::Adapter {
        path: path.clone(),
        message,
    };
    let mut found: BTreeMap<(Site, &str), HostTensor> = BTreeMap::new();
    let mut unused = 0;
    let run = shape.vision.as_ref().map_or(0, |tower| tower.layers);
    for (name, tensor) in &file.tensors {
        let known = Site::of(name, &shape).and_then(|(site, parameter)| {
            let mut known = parameters(kind).iter();
            let (theirs, _) = known.find(|(theirs, _)| *theirs == parameter)?;
            Some((site, *theirs))
        });
        let Some((site, parameter)) = known else {
            return Err(wrong(format!(
                "`{name}` is not a tensor of {kind:?} in a linear layer of the towers; name `target_modules` by a regular \
                 expression that leaves everything else out, such as \
                 `clip\\.(vision|text)_model\\..*(q_proj|v_proj)`"
            )));
        };
        match !site.text && site.layer >= run {
            true => unused += 1,
            false => drop(found.insert((site, parameter), tensor.clone())),
        }
    }
    if unused > 0 {
        tracing::warn!(
            "`{}`: {unused} tensors are in vision layers after the last one that the decoder sees; they change nothing and are left out",
            path.display()
        );
    }
    let form = Form::of(kind, &found, &shape).map_err(wrong)?;
    let tensors = found.into_iter().map(|((site, parameter), mut tensor)| {
        let of_tower = &form.layers[usize::from(site.text)];
        let index = of_tower.iter().position(|layer| *layer == site.layer);
        let mut known = parameters(kind).iter();
        let own = known.find(|(theirs, _)| *theirs == parameter);
        if kind == Kind::Ia3 {
            tensor.shape = vec![tensor.data.len()];
        }
        let own = own.map_or(parameter, |(_, own)| own);
        (site.own(kind, index.unwrap_or(0), own), tensor)
    });
    // What vlsm wrote names its base.
    let recorded = AdapterFile::of_metadata(&path, &file.metadata)?;
    recorded.check_base(&base.identity)?;
    let adapter = AdapterFile {
        tensors: tensors.collect(),
        method: form.method(kind, scale),
        base: Some(base.identity.clone()),
        ..recorded
    };
    Model::with_adapter(base, adapter.clone())?;
    Ok(adapter)
}

/// What a file's tensors change.
struct Form {
    /// The changed layers of the vision tower; of the text tower.
    layers: [Vec<usize>; 2],
    projections: Vec<Projection>,
    rank: usize,
}

impl Form {
    /// Checks that every changed layer has all parameters of the same matrices, of the shapes that the base asks for.
    fn of(
        kind: Kind,
        found: &BTreeMap<(Site, &str), HostTensor>,
        shape: &BaseShape,
    ) -> std::result::Result<Self, String> {
        let sites: BTreeSet<Site> = found.keys().map(|(site, _)| *site).collect();
        let matrices: BTreeSet<usize> = sites.iter().map(|site| site.matrix).collect();
        let rank = found.iter().find_map(|((_, parameter), tensor)| {
            (*parameter == "lora_A.weight").then(|| tensor.shape.first().copied().unwrap_or(0))
        });
        let rank = rank.unwrap_or(1);
        let mut layers: [BTreeSet<usize>; 2] = Default::default();
        for site in &sites {
            layers[usize::from(site.text)].insert(site.layer);
        }
        if sites.is_empty() {
            return Err("it has no tensors that change anything".into());
        }
        for (tower, layers) in layers.iter().enumerate() {
            for layer in layers {
                for matrix in &matrices {
                    let site = Site {
                        text: tower == 1,
                        layer: *layer,
                        matrix: *matrix,
                    };
                    for (parameter, _) in parameters(kind) {
                        let name = format!("{PEFT}{}.{parameter}", site.module(shape));
                        let Some(tensor) = found.get(&(site, *parameter)) else {
                            return Err(format!(
                                "`{name}` is missing; every changed layer of both towers must have the same matrices"
                            ));
                        };
                        let expected = site.shape(parameter, rank, shape);
                        if tensor.shape != expected {
                            return Err(format!(
                                "`{name}` is {:?} instead of {expected:?}; it must be of the base given and of one rank for all matrices, \
                             and IA3's `feedforward_modules` must be `fc2` alone",
                                tensor.shape
                            ));
                        }
                    }
                }
            }
        }
        let projections = matrices.iter().map(|matrix| Projection::ALL[*matrix]);
        Ok(Self {
            layers: layers.map(|layers| layers.into_iter().collect()),
            projections: projections.collect(),
            rank,
        })
    }

    fn method(self, kind: Kind, scale: f64) -> MethodConfig {
        let Self {
            layers: [vision, text],
            projections,
            rank,
        } = self;
        let towers = match (vision.is_empty(), text.is_empty()) {
            (false, true) => Towers::V,
            (true, _) => Towers::L,
            (false, false) => Towers::Vl,
        };
        let bottleneck = Bottleneck::All(rank);
        let some = |layers: Vec<usize>| (!layers.is_empty()).then_some(layers);
        let (layers, text_layers) = (some(vision), some(text));
        match kind {
            Kind::Lora => LoraConfig {
                towers,
                bottleneck,
                layers,
                text_layers,
                scale,
                projections,
                ..LoraConfig::default()
            }
            .into(),
            Kind::Dora => DoraConfig {
                towers,
                bottleneck,
                layers,
                text_layers,
                scale,
                projections,
                ..DoraConfig::default()
            }
            .into(),
            Kind::Ia3 => Ia3Config {
                towers,
                layers,
                text_layers,
                projections,
                ..Ia3Config::default()
            }
            .into(),
        }
    }
}

/// Writes an adapter of a base as a folder for peft, which appears whole or not at all. Returns its tensors.
///
/// # Errors
/// If peft has no such method or form, the adapter does not fit the base, or the folder is not empty or cannot be written.
pub fn write(adapter: &AdapterFile, base: &Base, folder: &Path) -> Result<Tensors> {
    adapter.check_stretched("exported to peft")?;
    let shape = check_base(base)?;
    let (kind, sites, projections, scale) = form(adapter, &shape)?;
    Model::with_adapter(base, adapter.clone())?;
    let ranks: BTreeSet<usize> = [&sites.vision, &sites.text]
        .into_iter()
        .flatten()
        .map(|(_, rank)| *rank)
        .collect();
    let [rank] = Vec::from_iter(ranks)[..] else {
        return Err(refused(
            adapter,
            "its layers have different ranks, and peft's `r` is one number; train with one `bottleneck`",
        ));
    };
    let mut tensors = Tensors::new();
    let (mut modules, mut feedforward) = (Vec::new(), Vec::new());
    for (text, sites) in [(false, sites.vision), (true, sites.text)] {
        for (index, (layer, _)) in sites.into_iter().enumerate() {
            for (matrix, projection) in Projection::ALL.iter().enumerate() {
                if !projections.contains(projection) {
                    continue;
                }
                let site = Site {
                    text,
                    layer,
                    matrix,
                };
                let module = site.module(&shape);
                for (theirs, own) in parameters(kind) {
                    let own = site.own(kind, index, own);
                    let tensor = adapter.tensors.get(&own).cloned();
                    let mut tensor =
                        tensor.ok_or_else(|| refused(adapter, &format!("`{own}` is missing")))?;
                    tensor.shape = site.shape(theirs, rank, &shape);
                    tensors.insert(format!("{PEFT}{module}.{theirs}"), tensor);
                }
                if *projection == Projection::Fc2 {
                    feedforward.push(module.clone());
                }
                modules.push(module);
            }
        }
    }
    let config = PeftConfig { kind, scale };
    let config = config.to_json(rank, &base.identity.name, &modules, &feedforward);
    let config = serde_json::to_string_pretty(&config).map_err(ModelError::serialise(CONFIG))?;
    let recorded = AdapterFile {
        base: Some(base.identity.clone()),
        ..adapter.clone()
    };
    let metadata = recorded.metadata()?;
    write_folder(folder, |folder| -> Result<()> {
        tensor_file::write_safetensors(&folder.join(WEIGHTS), &tensors, &metadata)?;
        Ok(write_atomic_bytes(&folder.join(CONFIG), config.as_bytes())?)
    })?;
    Ok(tensors)
}

/// What peft needs to know of a method.
type Known<'a> = (Kind, AdapterSites, &'a [Projection], f64);

fn form<'a>(adapter: &'a AdapterFile, shape: &BaseShape) -> Result<Known<'a>> {
    let refuse = |message: &str| Err(refused(adapter, message));
    if adapter.method.trains_decoder() {
        return refuse(
            "its decoder is trained too, which peft's file does not hold; train with `train_decoder = false`, or write a base \
             with `vlsm model merge`",
        );
    }
    if adapter.method.has_head() {
        return refuse(
            "it has an output head, which peft's file does not hold; train with `head = false`",
        );
    }
    match &adapter.method {
        MethodConfig::Lora(config) if config.towers.conditional() => refuse(
            "it has a block on the text embedding, which peft does not have; train with `towers = \"vl\"`",
        ),
        MethodConfig::Lora(config) if config.train_biases => refuse(
            "its biases are trained too, which peft's file does not hold; train with `train_biases = false`, or write a base \
             with `vlsm model merge`",
        ),
        MethodConfig::Lora(config) => {
            let sites = config.adapter_sites(shape)?;
            Ok((Kind::Lora, sites, &config.projections, config.scale))
        }
        MethodConfig::Dora(config) => {
            let sites = config.adapter_sites(shape)?;
            Ok((Kind::Dora, sites, &config.projections, config.scale))
        }
        MethodConfig::Ia3(config) => {
            let sites = config.adapter_sites(shape)?;
            Ok((Kind::Ia3, sites, &config.projections, 1.0))
        }
        other => refuse(&format!(
            "its method is {}; peft has `lora`, `dora` and `ia3`",
            other.label()
        )),
    }
}

fn refused(adapter: &AdapterFile, message: &str) -> ModelError {
    ModelError::Adapter {
        path: adapter.path.clone(),
        message: format!("cannot be exported to peft: {message}"),
    }
}
