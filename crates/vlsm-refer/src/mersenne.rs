//! Python's `random.seed(n)` and `random.shuffle`, which order the candidates of published training sets: the Mersenne Twister
//! MT19937 (Matsumoto and Nishimura 1998). Own code, since crates with it lack Python's seeding.

const LENGTH: usize = 624;
const MIDDLE: usize = 397;

/// The generator.
pub(crate) struct Mersenne {
    state: [u32; LENGTH],
    next: usize,
}

impl Mersenne {
    /// As `random.seed(seed)`.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0; LENGTH];
        state[0] = 19_650_218;
        for at in 1..LENGTH {
            state[at] = scrambled(state[at - 1], 1_812_433_253).wrapping_add(at as u32);
        }
        // Python's key has one word for a seed of 32 bits.
        let mut at = 1;
        for _ in 0..LENGTH {
            state[at] = (state[at] ^ scrambled(state[at - 1], 1_664_525)).wrapping_add(seed);
            at = step(&mut state, at);
        }
        for _ in 1..LENGTH {
            let mixed = state[at] ^ scrambled(state[at - 1], 1_566_083_941);
            state[at] = mixed.wrapping_sub(at as u32);
            at = step(&mut state, at);
        }
        state[0] = 1 << 31;
        Self {
            state,
            next: LENGTH,
        }
    }

    fn bits(&mut self) -> u32 {
        if self.next == LENGTH {
            for at in 0..LENGTH {
                let high = self.state[at] & 0x8000_0000;
                let low = self.state[(at + 1) % LENGTH] & 0x7fff_ffff;
                let y = high | low;
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[at] = self.state[(at + MIDDLE) % LENGTH] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number below `count`, at most 2^31.
    fn below(&mut self, count: usize) -> usize {
        let width = usize::BITS - count.leading_zeros();
        loop {
            let number = (self.bits() >> (32 - width)) as usize;
            if number < count {
                return number;
            }
        }
    }

    /// As `random.shuffle`.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.below(at + 1);
            items.swap(at, other);
        }
    }
}

fn scrambled(x: u32, factor: u32) -> u32 {
    (x ^ (x >> 30)).wrapping_mul(factor)
}

/// The index after `at` in the seeding's rounds.
fn step(state: &mut [u32; LENGTH], at: usize) -> usize {
    if at + 1 < LENGTH {
        return at + 1;
    }
    state[0] = state[LENGTH - 1];
    1
}
