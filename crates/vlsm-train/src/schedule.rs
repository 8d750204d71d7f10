//! Learning rate schedules.

use serde::{Deserialize, Serialize};

use crate::recipe::{OptimConfig, ScheduleKind};

/// The learning rate over a run. Its whole state can be saved and restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Plateau: current factor on the learning rate.
    factor: f64,
    /// Plateau: the best validation loss so far.
    best: Option<f64>,
    /// Plateau: epochs since then.
    bad_epochs: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            factor: 1.0,
            best: None,
            bad_epochs: 0,
        }
    }
}

impl Schedule {
    /// The learning rate of step `step` of `total`, counted from 0.
    pub fn lr(&self, config: &OptimConfig, step: usize, total: usize) -> f64 {
        let warmup = config.warmup_steps;
        if step < warmup {
            return config.lr * (step + 1) as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let progress = ((step - warmup) as f64 / span).min(1.0);
        let falling = |share: f64| config.min_lr + (config.lr - config.min_lr) * share;
        match config.schedule {
            ScheduleKind::Constant => config.lr,
            ScheduleKind::Plateau => (config.lr * self.factor).max(config.min_lr),
            ScheduleKind::Cosine => falling((1.0 + (std::f64::consts::PI * progress).cos()) / 2.0),
            ScheduleKind::Linear => falling(1.0 - progress),
        }
    }

    /// Updates the state with an epoch's validation loss, as PyTorch's `ReduceLROnPlateau`: the rate is
    /// lowered if the loss was not below `1 - 1e-4` times the best loss for more than `patience` epochs.
    pub fn end_of_epoch(&mut self, config: &OptimConfig, validation_loss: f64) {
        if config.schedule != ScheduleKind::Plateau {
            return;
        }
        if self
            .best
            .is_none_or(|best| validation_loss < best * (1.0 - 1e-4))
        {
            self.best = Some(validation_loss);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.bad_epochs > config.plateau_patience {
            self.factor *= config.plateau_factor;
            self.bad_epochs = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(schedule: ScheduleKind) -> OptimConfig {
        OptimConfig {
            lr: 1.0,
            schedule,
            warmup_steps: 4,
            min_lr: 0.0,
            plateau_factor: 0.3,
            plateau_patience: 1,
            ..OptimConfig::default()
        }
    }

    #[test]
    fn warm_up_rises_linearly() {
        let schedule = Schedule::default();
        let config = config(ScheduleKind::Constant);
        let rates: Vec<f64> = (0..6).map(|step| schedule.lr(&config, step, 10)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn cosine_falls_from_lr_to_min_lr() {
        let schedule = Schedule::default();
        let config = config(ScheduleKind::Cosine);
        assert_eq!(schedule.lr(&config, 4, 14), 1.0);
        assert!((schedule.lr(&config, 9, 14) - 0.5).abs() < 1e-12);
        assert!(schedule.lr(&config, 14, 14) < 1e-12);
    }

    /// Transformers' `linear` schedule.
    #[test]
    fn linear_reaches_min_lr_after_the_last_step() {
        let schedule = Schedule::default();
        let config = OptimConfig {
            warmup_steps: 0,
            ..config(ScheduleKind::Linear)
        };
        let rates: Vec<f64> = (0..4).map(|step| schedule.lr(&config, step, 4)).collect();
        assert_eq!(rates, [1.0, 0.75, 0.5, 0.25]);
    }

    /// `ReduceLROnPlateau(factor=0.3, patience=1)` on these losses.
    #[test]
    fn plateau_falls_after_patience() {
        let mut schedule = Schedule::default();
        let config = config(ScheduleKind::Plateau);
        let rates: Vec<f64> = [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.5]
            .into_iter()
            .map(|loss| {
                schedule.end_of_epoch(&config, loss);
                schedule.lr(&config, 100, 200)
            })
            .collect();
        let expected = [1.0, 1.0, 1.0, 0.3, 0.3, 0.09, 0.09];
        for (rate, expected) in rates.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
    }
}
