//! The library `vlsm`.

use vlsm::image::read_image;
use vlsm::models::weights::export;
use vlsm::models::{AdapterFile, MethodConfig, Model, ModelError, SegmentationModel};
use vlsm::{Error, Segmenter};

use crate::support::{SIZE, Workshop, train_args};

#[test]
fn an_image_is_encoded_once_for_many_prompts() {
    let shop = Workshop::new();
    let base = shop.path("base");
    let segmenter = Segmenter::from_pretrained(base.to_str().unwrap()).unwrap();
    let picture = read_image(&shop.path("data/images/test0.png")).unwrap();
    let image = segmenter.set_image(&picture).unwrap();
    assert_eq!(image.size(), SIZE);
    // More than one pass of the decoder.
    let prompts: Vec<String> = (0..11).map(|index| format!("disc {index}")).collect();
    let all = segmenter.predict_all(&image, &prompts).unwrap();
    assert_eq!(all.len(), 11);
    for (prompt, together) in prompts.iter().zip(&all) {
        let alone = segmenter.predict(&image, prompt).unwrap();
        assert_eq!(&together.prompt, prompt);
        assert_eq!(alone.probability.len(), SIZE.0 * SIZE.1);
        let pairs = alone.probability.iter().zip(&together.probability);
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
        assert!(alone.probability.iter().all(|p| (0.0..=1.0).contains(p)));
    }
    assert!(all[0].probability != all[1].probability);
    let none: [&str; 0] = [];
    assert!(segmenter.predict_all(&image, &none).unwrap().is_empty());
}

#[test]
fn segmenters_over_one_base_share_images() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.max_steps=1"]));
    let base = shop.path("base");
    let picture = shop.path("data/images/test0.png");
    let adapter = shop.path("run/adapter.safetensors");
    let plain = Segmenter::from_pretrained(base.to_str().unwrap()).unwrap();
    let image = plain.set_image_file(&picture).unwrap();
    assert!(plain.clone().predict(&image, "disc").is_ok());
    let adapted = plain.clone().with_adapter(&adapter).unwrap();
    let shared = adapted.predict(&image, "disc").unwrap();
    let own = adapted.set_image_file(&picture).unwrap();
    assert_eq!(adapted.predict(&own, "disc").unwrap(), shared);
    // An image of another base or of another input size is refused.
    let other = Segmenter::from_pretrained("builtin:tiny").unwrap();
    let foreign = other.set_image_file(&picture).unwrap();
    assert!(matches!(
        plain.predict(&foreign, "disc"),
        Err(Error::Model(ModelError::ForeignImage { .. }) | Error::ImageSize { .. })
    ));
    let larger = plain.clone().with_image_size(64).unwrap();
    assert!(matches!(
        larger.predict(&image, "disc"),
        Err(Error::ImageSize { wanted: 64, .. })
    ));
    assert!(plain.with_image_size(50).is_err());
}

#[test]
fn an_adapter_determines_the_input_size() {
    let shop = Workshop::new();
    let base = shop.path("base");
    let plain = Segmenter::from_pretrained(base.to_str().unwrap()).unwrap();
    let size = plain.preprocessing().image_size;
    let write = |name: &str, image_size| {
        let model = Model::new(plain.base(), MethodConfig::default(), 0).unwrap();
        let file = AdapterFile {
            path: shop.path(name),
            tensors: export(&model, |name| model.saves(name)),
            method: MethodConfig::default(),
            base: Some(plain.base().identity.clone()),
            image_size,
            ..AdapterFile::default()
        };
        file.write(&shop.path(name)).unwrap();
        shop.path(name)
    };
    let (sized, unsized_) = (
        write("sized.safetensors", Some(64)),
        write("unsized.safetensors", None),
    );
    let segmenter = plain.clone().with_adapter(sized).unwrap();
    assert_eq!(segmenter.preprocessing().image_size, 64);
    let segmenter = segmenter.with_adapter(unsized_).unwrap();
    assert_eq!(segmenter.preprocessing().image_size, size);
}
