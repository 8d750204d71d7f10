//! DiceCE, `1.5 * Dice + 1.0 * CE` as published, in both profiles.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};
use vlsm_models::Profile;

/// Keeps the Dice of two empty masks defined; MONAI's default.
const SMOOTH: f64 = 1e-5;

/// `[loss]`: weights of the loss's terms; by default VLSM-Adapter's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of the Dice term.
    pub dice: f64,
    /// Weight of the cross entropy.
    pub cross_entropy: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            dice: 1.5,
            cross_entropy: 1.0,
        }
    }
}

/// The loss `[1]` of logits `[batch, side, side]` compared with `target`, of the same shape (0 or
/// 1). Pixels where `valid` is 0 count in neither term.
///
/// Dice is `1 - (2 sum(p t) + s) / (sum(p) + sum(t) + s)` per sample, averaged over the batch, of
/// the probabilities `p`. Cross entropy is averaged over pixels. Profile `default` computes it from
/// the logits. Profile `paper` passes the *probabilities* as logits, as the published code does, so
/// that the loss of a background pixel is never below `ln 2`.
pub fn dice_ce(
    logits: Tensor<3>,
    target: Tensor<3>,
    valid: Option<Tensor<3>>,
    profile: Profile,
    weights: LossConfig,
) -> Tensor<1> {
    let [batch, height, width] = logits.dims();
    // Sums run over one sample at a time, so that their order, and with it their last bits, does
    // not depend on the number of threads.
    let per_sample = |x: Tensor<3>| x.reshape([batch, height * width]).sum_dim(1);
    let keep = |x: Tensor<3>| match &valid {
        Some(valid) => x * valid.clone(),
        None => x,
    };

    let probability = activation::sigmoid(logits.clone());
    let kept = keep(probability.clone());
    let target = keep(target);
    let overlap = per_sample(kept.clone() * target.clone());
    let total = per_sample(kept) + per_sample(target.clone());
    let dice = (overlap * 2.0 + SMOOTH) / (total + SMOOTH);
    let dice = dice.neg() + 1.0;

    let scores = match profile {
        Profile::Paper => probability,
        Profile::Default => logits,
    };
    let entropy = per_sample(keep(binary_cross_entropy(scores, target)));
    let pixels = match &valid {
        // A batch without a valid pixel has a loss of 0.
        Some(valid) => per_sample(valid.clone()).sum().clamp_min(1.0),
        None => Tensor::from_floats([(batch * height * width) as f32], &entropy.device()),
    };
    dice.mean() * weights.dice + entropy.sum() / pixels * weights.cross_entropy
}

/// `max(x, 0) - x t + ln(1 + exp(-|x|))`, the stable form of binary cross entropy with logits.
fn binary_cross_entropy(x: Tensor<3>, target: Tensor<3>) -> Tensor<3> {
    activation::relu(x.clone()) - x.clone() * target + x.abs().neg().exp().log1p()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn loss(logits: &[f32], target: &[f32], valid: Option<&[f32]>, profile: Profile) -> f32 {
        let device = Device::flex();
        let side = logits.len() / 2;
        let tensor = |values: &[f32]| {
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, side, 2]), &device)
        };
        let weights = LossConfig::default();
        let (logits, target, valid) = (tensor(logits), tensor(target), valid.map(tensor));
        dice_ce(logits, target, valid, profile, weights).into_scalar::<f32>()
    }

    /// By hand: p = 1/2 everywhere, two of four pixels foreground, so Dice = 1 - 2/4 = 1/2 and
    /// CE = ln 2 (default), (ln(1 + e^-1/2) + ln(1 + e^1/2)) / 2 of x = 1/2 (paper).
    #[test]
    fn agrees_with_the_formula() {
        let (logits, target) = ([0.0; 4], [1.0, 1.0, 0.0, 0.0]);
        let expected = 1.5 * 0.5 + 2f32.ln();
        assert!((loss(&logits, &target, None, Profile::Default) - expected).abs() < 1e-5);
        let ce = ((1.0 + (-0.5f32).exp()).ln() + (1.0 + 0.5f32.exp()).ln()) / 2.0;
        let expected = 1.5 * 0.5 + ce;
        assert!((loss(&logits, &target, None, Profile::Paper) - expected).abs() < 1e-5);
    }

    #[test]
    fn terms_are_weighted() {
        let logits = Tensor::<3>::zeros([1, 2, 2], &Device::flex());
        let target = Tensor::from_floats([[[1.0, 1.0], [0.0, 0.0]]], &Device::flex());
        let weights = LossConfig {
            dice: 1.0,
            cross_entropy: 0.2,
        };
        let loss = dice_ce(logits, target, None, Profile::Default, weights);
        let expected = 0.5 + 0.2 * 2f32.ln();
        assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-5);
    }

    #[test]
    fn ignored_pixels_do_not_count() {
        let whole = loss(&[0.3, -2.0], &[1.0, 0.0], None, Profile::Default);
        let partly = loss(
            &[0.3, -2.0, 9.0, -9.0],
            &[1.0, 0.0, 0.0, 1.0],
            Some(&[1.0, 1.0, 0.0, 0.0]),
            Profile::Default,
        );
        assert!((whole - partly).abs() < 1e-6);
    }

    /// Nothing to find and nothing found: Dice is 1, by the smoothing, and the cross entropy 0.
    #[test]
    fn two_empty_masks_agree() {
        let loss = loss(&[-40.0; 4], &[0.0; 4], None, Profile::Default);
        assert!(loss.abs() < 1e-5, "{loss}");
    }

    #[test]
    fn extreme_logits_stay_finite() {
        for profile in [Profile::Paper, Profile::Default] {
            assert!(loss(&[1e4, -1e4], &[0.0, 1.0], None, profile).is_finite());
        }
    }
}
