//! Bases whose towers are in other precisions than f32.

#![allow(clippy::unwrap_used, clippy::panic)]

use burn::tensor::Tensor;
use vlsm_image::RgbImage;
use vlsm_models::predict::PromptEncoder;
use vlsm_models::tensor_file::WrittenAs;
use vlsm_models::{
    Base, BitFitConfig, DecoderConfig, DenseConfig, FullConfig, LoraConfig, MethodConfig, Model,
    Precision, SegmentationModel, ShallowConfig, device,
};

fn fixture(name: &str) -> String {
    format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn base(name: &str) -> Base {
    Base::load(name, &device("cpu").unwrap()).unwrap()
}

fn logits(base: &Base) -> Tensor<3> {
    let model = Model::new(base, MethodConfig::zero_shot(), 0).unwrap();
    let model = model.for_inference();
    let side = base.preprocessing.image_size;
    let image = RgbImage::from_fn(side, side, |x, y| [x as u8, (y * 5) as u8, (x * y) as u8]);
    let pixels = base
        .preprocessing
        .tensor(&[&image], &model.device())
        .unwrap();
    let features = model.encode_image(pixels).unwrap();
    let encoder = PromptEncoder::frozen(&base.tokenizer).unwrap();
    let text = encoder.encode(&model, &["a red disc"]).unwrap();
    model.decode(&features, text).unwrap()
}

#[test]
fn fewer_bits_change_the_logits_little() {
    let cases = [
        ("builtin:tiny", Precision::Int8, 0.999),
        (&fixture("biomedclipseg/tiny"), Precision::Int8, 0.999),
        // builtin:tiny is stored in half precision.
        (&fixture("biomedclipseg/tiny"), Precision::F16, 0.999_999),
    ];
    for (name, precision, least) in cases {
        let exact = logits(&base(name));
        let rounded = base(name).with_precision(precision).unwrap();
        assert_eq!(rounded.parameters(), base(name).parameters());
        let quantised = logits(&rounded);
        let dot = |a: &Tensor<3>, b: &Tensor<3>| (a.clone() * b.clone()).sum().into_scalar::<f32>();
        let cosine =
            dot(&exact, &quantised) / (dot(&exact, &exact) * dot(&quantised, &quantised)).sqrt();
        assert!(cosine > least, "{name} {precision:?}: {cosine}");
        assert!(dot(&exact, &exact) != dot(&quantised, &quantised), "{name}");
    }
}

#[test]
fn fewer_bits_are_refused_where_matrices_change_or_are_needed() {
    for precision in [Precision::F16, Precision::Int8] {
        refused(precision);
    }
}

fn refused(precision: Precision) {
    let name = precision.name();
    let rounded = base("builtin:tiny").with_precision(precision).unwrap();
    for method in [
        MethodConfig::from(DenseConfig::default()),
        ShallowConfig::default().into(),
        DecoderConfig::default().into(),
        BitFitConfig::default().into(),
    ] {
        Model::new(&rounded, method, 0).unwrap();
    }
    for method in [
        MethodConfig::from(FullConfig::default()),
        LoraConfig::default().into(),
    ] {
        let error = Model::new(&rounded, method, 0).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("f32"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = rounded.write(folder.path(), WrittenAs::F32).unwrap_err();
    assert!(error.to_string().contains("f32"), "{error}");
}

#[test]
fn int8_is_refused_for_other_architectures() {
    for name in ["san", "cris"] {
        let error = base(&fixture(name)).with_precision(Precision::Int8);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("int8") && error.contains("CLIPSeg"),
            "{error}"
        );
    }
}

#[test]
fn bf16_is_refused_on_the_cpu() {
    let error = base("builtin:tiny").with_precision(Precision::Bf16);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`bf16`") && error.contains("accelerators") && error.contains("`f32`"),
        "{error}"
    );
}
