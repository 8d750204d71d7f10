//! Exact Euclidean distance transform in linear time.
//!
//! Meijster, Roerdink and Hesselink, "A general algorithm for computing distance transforms in linear time" (2000): the
//! lower envelope of parabolas, as in Felzenszwalb and Huttenlocher (2012), all in integers. It is implemented here because
//! HD95 must equal MONAI's and `imageproc` depends on nalgebra and a second version of rand.

/// The squared distance of each pixel, `[height, width]`, to the nearest pixel where `site` is true; `u32::MAX` everywhere if
/// there is none.
///
/// Exact for images up to 32767 pixels wide and high. In larger ones a squared distance can exceed 32 bits.
pub(crate) fn squared_distances(site: &[bool], width: usize, height: usize) -> Vec<u32> {
    let mut squared = vec![u32::MAX; width * height];
    if !site.contains(&true) {
        return squared;
    }
    let down = column_distances(site, width, height);
    let mut envelope = Envelope::new(width);
    for (column, out) in down
        .chunks_exact(width)
        .zip(squared.chunks_exact_mut(width))
    {
        envelope.row(column, out);
    }
    squared
}

/// Distance of each pixel to the nearest site in its column; `FAR` if there is none.
fn column_distances(site: &[bool], width: usize, height: usize) -> Vec<i64> {
    let mut down = vec![FAR; width * height];
    for (value, _) in down.iter_mut().zip(site).filter(|(_, site)| **site) {
        *value = 0;
    }
    for y in 1..height {
        let (above, below) = down.split_at_mut(y * width);
        for (value, &up) in below[..width].iter_mut().zip(&above[(y - 1) * width..]) {
            *value = (*value).min(up + 1);
        }
    }
    for y in (0..height.saturating_sub(1)).rev() {
        let (above, below) = down.split_at_mut((y + 1) * width);
        for (value, &under) in above[y * width..].iter_mut().zip(&below[..width]) {
            *value = (*value).min(under + 1);
        }
    }
    down
}

/// Larger than any distance, but its square fits in 64 bits.
const FAR: i64 = 1 << 30;

/// The parabolas that are lowest somewhere in the row. The one with `apex[k]` is lowest from `from[k]` to `from[k + 1]`,
/// exclusive.
struct Envelope {
    apex: Vec<i64>,
    from: Vec<i64>,
}

impl Envelope {
    fn new(width: usize) -> Self {
        Self {
            apex: Vec::with_capacity(width),
            from: Vec::with_capacity(width),
        }
    }

    fn row(&mut self, down: &[i64], out: &mut [u32]) {
        let height_at = |x: i64, apex: i64| (x - apex).pow(2) + down[apex as usize].pow(2);
        // The last position at which the parabola at `left` is not above the one at `right` (Meijster's `Sep`).
        let last_of = |left: i64, right: i64| {
            let rise = down[right as usize].pow(2) - down[left as usize].pow(2);
            (right * right - left * left + rise).div_euclid(2 * (right - left))
        };
        self.apex.clear();
        self.from.clear();
        for right in 0..down.len() as i64 {
            if down[right as usize] >= FAR {
                continue;
            }
            while let (Some(&apex), Some(&from)) = (self.apex.last(), self.from.last()) {
                if height_at(from, apex) <= height_at(from, right) {
                    break;
                }
                self.apex.pop();
                self.from.pop();
            }
            match self.apex.last() {
                None => {
                    self.apex.push(right);
                    self.from.push(0);
                }
                Some(&left) => {
                    let from = last_of(left, right) + 1;
                    if from < down.len() as i64 {
                        self.apex.push(right);
                        self.from.push(from);
                    }
                }
            }
        }
        let mut k = 0;
        for (x, out) in out.iter_mut().enumerate() {
            while self.from.get(k + 1).is_some_and(|&from| from <= x as i64) {
                k += 1;
            }
            *out = u32::try_from(height_at(x as i64, self.apex[k])).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn brute_force(site: &[bool], width: usize, height: usize) -> Vec<u32> {
        let at = |i: usize| ((i % width) as i64, (i / width) as i64);
        let nearest = |i: usize| {
            let (x, y) = at(i);
            let sites = (0..width * height).filter(|&j| site[j]).map(at);
            sites
                .map(|(u, v)| ((x - u).pow(2) + (y - v).pow(2)) as u32)
                .min()
                .unwrap_or(u32::MAX)
        };
        (0..width * height).map(nearest).collect()
    }

    #[test]
    fn distances_equal_brute_force() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for round in 0..300 {
            let (width, height) = (rng.random_range(1..20), rng.random_range(1..20));
            let share = [0.0, 0.01, 0.05, 0.3, 0.9, 1.0][round % 6];
            let site: Vec<bool> = (0..width * height)
                .map(|_| rng.random_bool(share))
                .collect();
            assert_eq!(
                squared_distances(&site, width, height),
                brute_force(&site, width, height),
                "{width}x{height}"
            );
        }
    }

    #[test]
    fn distances_from_a_single_site_are_exact() {
        let mut site = vec![false; 1000 * 700];
        site[300 * 1000 + 200] = true;
        let squared = squared_distances(&site, 1000, 700);
        assert_eq!(squared[0], 200 * 200 + 300 * 300);
        assert_eq!(squared[699 * 1000 + 999], 799 * 799 + 399 * 399);
    }
}
