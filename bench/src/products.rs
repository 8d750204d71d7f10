//! Matrix products of the sizes of CLIPSeg's vision tower, and a large one as the device's measured rate.

use std::time::Instant;

use burn::tensor::{Device, Distribution, FloatDType, Tensor};

use crate::Result;

/// Tokens of an image of 352 pixels.
const TOKENS: usize = 485;
/// Products of each size that are timed together.
const REPEATS: usize = 20;

/// Prints the rate of each product for a number of images, one line of JSON each.
pub(crate) fn measure(images: usize, device: &Device) -> Result<()> {
    let rows = images * TOKENS;
    let sizes = [
        ("large", 1, 4096, 4096, 4096),
        ("projection", 1, rows, 768, 768),
        ("expand", 1, rows, 768, 3072),
        ("contract", 1, rows, 3072, 768),
        ("bottleneck", 1, rows, 768, 64),
        ("weight gradient", 1, 768, rows, 64),
        ("scores", images * 12, TOKENS, 64, TOKENS),
        ("values", images * 12, TOKENS, TOKENS, 64),
    ];
    for dtype in [FloatDType::F32, FloatDType::BF16] {
        for (name, batch, m, k, n) in sizes {
            let random = |rows, columns| {
                Tensor::<3>::random([batch, rows, columns], Distribution::Default, device)
                    .cast(dtype)
            };
            let (left, right) = (random(m, k), random(k, n));
            let run = |times: usize| -> Result<f64> {
                let started = Instant::now();
                for _ in 0..times {
                    std::hint::black_box(left.clone().matmul(right.clone()));
                }
                device.sync()?;
                Ok(started.elapsed().as_secs_f64())
            };
            // The first call compiles and tunes.
            let first = run(1)?;
            let seconds = run(REPEATS)? / REPEATS as f64;
            let line = serde_json::json!({
                "product": name,
                "dtype": format!("{dtype:?}"),
                "size": [batch, m, k, n],
                "first_seconds": first,
                "seconds": seconds,
                "operations_per_second": (2 * batch * m * k * n) as f64 / seconds,
            });
            println!("{line}");
        }
    }
    Ok(())
}
