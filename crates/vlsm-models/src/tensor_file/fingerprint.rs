//! A short identifier of a set of weights, by which an adapter recognises its base.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

/// Gathers tensors one at a time into a fingerprint: 32 hexadecimal digits of XXH3-128 over names, shapes and the values'
/// bits. The order of adding does not matter. It guards against mistakes, not against forgery.
#[derive(Debug, Clone, Default)]
pub struct Fingerprint {
    tensors: BTreeMap<String, u128>,
}

impl Fingerprint {
    /// An empty fingerprint.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor; one added before under the same name is replaced.
    pub fn add(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        const PIECE: usize = 1 << 12;
        let mut hash = Xxh3::new();
        hash.update(&(shape.len() as u64).to_le_bytes());
        for &extent in shape {
            hash.update(&(extent as u64).to_le_bytes());
        }
        let mut bytes = [[0; size_of::<f32>()]; PIECE];
        for piece in data.chunks(PIECE) {
            for (bytes, value) in bytes.iter_mut().zip(piece) {
                *bytes = value.to_le_bytes();
            }
            hash.update(bytes[..piece.len()].as_flattened());
        }
        self.tensors.insert(name.to_owned(), hash.digest128());
    }

    /// The fingerprint of all tensors added.
    #[must_use]
    pub fn finish(&self) -> String {
        let mut hash = Xxh3::new();
        for (name, digest) in &self.tensors {
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update(&digest.to_le_bytes());
        }
        format!("{:032x}", hash.digest128())
    }
}

/// The [`Fingerprint`] of tensors given as (name, shape, values), in any order.
pub fn fingerprint<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> String {
    let mut all = Fingerprint::new();
    for (name, shape, data) in tensors {
        all.add(name, shape, data);
    }
    all.finish()
}
