//! Seconds of the phases of a step.

use std::time::Instant;

use burn::tensor::Device;

use crate::Result;

/// A clock that waits for the device at the end of each phase, so that the phase's work is done.
pub(crate) struct Phases {
    device: Option<Device>,
    started: Instant,
    seconds: Vec<(&'static str, f64)>,
}

impl Phases {
    /// A clock that does nothing unless it is `wanted`.
    pub(crate) fn new(wanted: bool, device: &Device) -> Self {
        Self {
            device: wanted.then(|| device.clone()),
            started: Instant::now(),
            seconds: Vec::new(),
        }
    }

    /// Starts the first phase of a step.
    pub(crate) fn start(&mut self) {
        self.started = Instant::now();
    }

    /// Ends a phase and starts the next.
    pub(crate) fn end(&mut self, name: &'static str) -> Result<()> {
        if let Some(device) = &self.device {
            device.sync()?;
            let now = Instant::now();
            self.seconds
                .push((name, (now - self.started).as_secs_f64()));
            self.started = now;
        }
        Ok(())
    }

    /// Forgets the phases so far.
    pub(crate) fn clear(&mut self) {
        self.seconds.clear();
    }

    /// The mean seconds of each phase over `steps` steps.
    pub(crate) fn means(&self, steps: usize) -> Option<serde_json::Value> {
        self.device.as_ref()?;
        let mut sums = serde_json::Map::new();
        for (name, seconds) in &self.seconds {
            let before = sums.get(*name).and_then(serde_json::Value::as_f64);
            let sum = before.unwrap_or(0.0) + seconds / steps.max(1) as f64;
            sums.insert((*name).to_owned(), sum.into());
        }
        Some(sums.into())
    }
}
