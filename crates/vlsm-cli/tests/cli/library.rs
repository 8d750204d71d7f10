//! The facade.

use vlsm::data::read_image;
use vlsm::{Error, Segmenter};

use crate::support::{SIZE, Workshop, train_args};

#[test]
fn an_image_is_set_once_and_asked_often() {
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
fn an_image_of_another_segmenter_is_refused() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.max_steps=1"]));
    let base = shop.path("base");
    let plain = Segmenter::from_pretrained(base.to_str().unwrap()).unwrap();
    let image = plain
        .set_image_file(shop.path("data/images/test0.png"))
        .unwrap();
    assert!(plain.clone().predict(&image, "disc").is_ok());
    let adapted = plain
        .clone()
        .with_adapter(shop.path("run/adapter.safetensors"))
        .unwrap();
    assert!(matches!(
        adapted.predict(&image, "disc"),
        Err(Error::ForeignImage)
    ));
    let larger = plain.clone().with_image_size(64).unwrap();
    assert!(matches!(
        larger.predict(&image, "disc"),
        Err(Error::ForeignImage)
    ));
    assert!(plain.with_image_size(50).is_err());
}
