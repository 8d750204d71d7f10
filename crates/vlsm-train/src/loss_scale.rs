//! Loss scaling for products in half precision (Micikevicius et al. 2018, arXiv 1710.03740): the loss is multiplied by a factor, so
//! that small gradients do not round to 0, and the gradients are divided by it.

use serde::{Deserialize, Serialize};

/// The factor and when it last changed.
///
/// It starts at 2^16. A step whose gradients overflow is computed again with half the factor, so no step is skipped, and the factor
/// doubles after 2,000 steps without that, as in PyTorch's `GradScaler`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    factor: f64,
    /// Steps since the factor changed.
    steps: usize,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            factor: 65_536.0,
            steps: 0,
        }
    }
}

impl LossScale {
    const GROW_AFTER: usize = 2_000;

    /// What the loss is multiplied by.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Halves the factor after an overflow. Returns whether the step is worth another try; gradients that overflow without a factor
    /// do so for another reason.
    pub fn lower(&mut self) -> bool {
        self.steps = 0;
        if self.factor <= 1.0 {
            return false;
        }
        self.factor /= 2.0;
        true
    }

    /// Counts a step without an overflow.
    pub fn count(&mut self) {
        self.steps += 1;
        if self.steps >= Self::GROW_AFTER {
            self.steps = 0;
            // Far below f32's largest number, so that the loss stays finite.
            self.factor = (self.factor * 2.0).min(2f64.powi(40));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_halves_the_factor_and_many_steps_double_it() {
        let mut scale = LossScale::default();
        assert!(scale.lower());
        assert_eq!(scale.factor(), 32_768.0);
        for _ in 0..LossScale::GROW_AFTER - 1 {
            scale.count();
        }
        assert_eq!(scale.factor(), 32_768.0);
        // An overflow starts the count again.
        assert!(scale.lower());
        scale.count();
        assert_eq!(scale.factor(), 16_384.0);
        for _ in 1..LossScale::GROW_AFTER {
            scale.count();
        }
        assert_eq!(scale.factor(), 32_768.0);
        for _ in 0..15 {
            assert!(scale.lower());
        }
        assert_eq!(scale.factor(), 1.0);
        assert!(!scale.lower());
    }
}
