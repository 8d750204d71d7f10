//! What a method needs to know about a base.

/// A tower of transformer layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TowerShape {
    /// Prefix of its parameter names in the base, such as `clip.text_model.`.
    pub prefix: &'static str,
    /// Width of a token.
    pub width: usize,
    /// Hidden units of a layer's MLP.
    pub hidden: usize,
    /// Number of layers whose output is used; layers after them are never run.
    pub layers: usize,
    /// Number of attention heads.
    pub heads: usize,
}

/// The shape of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseShape {
    /// The architecture's name, for messages.
    pub name: &'static str,
    /// The vision tower. If it has no transformer layers, a phrase for messages, such as `a ResNet`.
    pub vision: Result<TowerShape, &'static str>,
    /// The text tower.
    pub text: TowerShape,
    /// The maximum number of tokens of a prompt.
    pub context: usize,
    /// Width of the text embedding that the decoder takes.
    pub projection: usize,
    /// The vision tower's states that the decoder takes and shallow adapters can change, by the numbers that the base's
    /// configuration gives them: CLIPSeg's `extract_layers`, the states that SAN fuses. Empty if there are none.
    pub taps: Vec<usize>,
    /// Whether the base has batch normalisation.
    pub batch_norm: bool,
    /// Whether its model can encode texts for pairs of an image and a prompt, see [`Pairing`](super::Pairing).
    pub pairs: bool,
}
