//! Encodes an image once and predicts a mask for each of several prompts.
//!
//! ```text
//! cargo run -p vlsm --example segment -- BASE IMAGE PROMPT...
//! cargo run -p vlsm --example segment -- CIDAS/clipseg-rd64-refined street.jpg "a car" "the sky"
//! ```

#![allow(clippy::print_stdout)]

use std::path::Path;

use vlsm::{Segmenter, image, overlay};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, picture, prompts @ ..] = arguments.as_slice() else {
        return Err("usage: segment BASE IMAGE PROMPT...".into());
    };
    let segmenter = Segmenter::from_pretrained(base)?;
    let picture = image::read_image(Path::new(picture))?;
    let image = segmenter.set_image(&picture)?;
    for (number, prediction) in segmenter.predict_all(&image, prompts)?.iter().enumerate() {
        let path = format!("segment-{}.png", number + 1);
        image::write_png_rgb(Path::new(&path), &overlay(&picture, &prediction.mask))?;
        println!(
            "{path}: `{}` covers {:.1} % of the image",
            prediction.prompt,
            100.0 * prediction.share()
        );
    }
    Ok(())
}
