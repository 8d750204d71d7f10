//! The levels of 16-bit images that are shown.

/// The levels of 16-bit images that become black and white.
pub type Window = [u16; 2];

/// The window of the full range, which is the same as none.
pub const FULL: Window = [0, u16::MAX];

/// Shares of the pixels that are darker than the window, and that are not brighter than it.
const PERCENTILES: [f64; 2] = [0.005, 0.995];

/// 16-bit images that reach this level use the range well enough.
const USED: usize = 1 << 15;

/// The window of images with this histogram of 65536 levels: the 0.5th and the 99.5th percentile. `None` if they use at
/// least half of the range, or there are none.
pub fn window_of(counts: &[u64]) -> Option<Window> {
    let max = counts.iter().rposition(|&n| n > 0)?;
    if max >= USED {
        return None;
    }
    let total: u64 = counts.iter().sum();
    let level_at = |share: f64| {
        let wanted = (share * total as f64) as u64;
        let mut below = 0;
        counts
            .iter()
            .position(|&n| {
                below += n;
                below > wanted
            })
            .unwrap_or(max)
    };
    let [low, high] = PERCENTILES.map(level_at);
    let (low, high) = if low < high { (low, high) } else { (0, max) };
    Some([u16::try_from(low).ok()?, u16::try_from(high).ok()?])
}

/// Scales levels to 8 bits: those of the window, or of the full range, `v / 257`, rounded.
pub(crate) fn scale(window: Option<Window>) -> impl Fn(u16) -> u8 {
    move |v| match window {
        None => ((u32::from(v) + 128) / 257) as u8,
        Some([low, high]) => {
            let range = u32::from(high.saturating_sub(low)).max(1);
            let above = u32::from(v.saturating_sub(low)).min(range);
            ((above * 255 + range / 2) / range) as u8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_window_is_the_full_range() {
        let (full, none) = (scale(Some(FULL)), scale(None));
        assert!((0..=u16::MAX).all(|level| full(level) == none(level)));
    }

    #[test]
    fn only_images_that_use_less_than_half_of_the_range_get_a_window() {
        let counts = |levels: &[(usize, u64)]| {
            let mut counts = vec![0; 65536];
            levels.iter().for_each(|&(level, n)| counts[level] = n);
            counts
        };
        assert_eq!(window_of(&counts(&[])), None);
        assert_eq!(window_of(&counts(&[(0, 500), (40_000, 1)])), None);
        // One bright pixel of a thousand is above the window.
        let twelve = counts(&[(0, 1), (100, 499), (900, 499), (4095, 1)]);
        assert_eq!(window_of(&twelve), Some([100, 900]));
        assert_eq!(window_of(&counts(&[(7, 3)])), Some([0, 7]));
    }
}
