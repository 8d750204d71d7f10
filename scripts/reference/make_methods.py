"""Writes reference outputs of the fine-tuning methods on the small CLIPSeg: fixtures/methods.

LoRA, DoRA and IA3 are Hugging Face's `peft`; the other methods are written here from their papers, over Transformers'
modules. Prompts follow TuneVLSeg (https://github.com/naamiinepal/tunevlseg) except that the decoder does not see them.

    pip install torch==2.15 transformers==5.24 peft==0.21.2 safetensors
    python scripts/reference/make_methods.py fixtures/clipseg/tiny_refined fixtures/methods

Each file holds, for the first two images and prompts of the base's batch:

- `param.NAME`: the method's parameters away from their start, by their names in adapter files,
- `logits`, and `grad.NAME` of the sum of `logits * weights` with `weights = (i // 97 % 7 - 2) / 4` for the i-th logit, in f64,
- `noise`: how far PyTorch's f32 is from that, of the logits by their spread and of the gradients by their norm,
- in the metadata `method`, the recipe's section.
"""

import json
import sys
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

base_folder, out = Path(sys.argv[1]), Path(sys.argv[2])
batch = load_file(base_folder / "batch.safetensors")
ROWS, LENGTH = 2, 7
ids = batch["input_ids"][:ROWS, :LENGTH]
config = CLIPSegConfig.from_pretrained(base_folder)
config._attn_implementation = "eager"
V, L = config.vision_config.hidden_size, config.text_config.hidden_size
V_LAYERS, L_LAYERS = max(config.extract_layers) + 1, config.text_config.num_hidden_layers


def clipseg(dtype):
    model = CLIPSegForImageSegmentation(config)
    model.load_state_dict(load_file(base_folder / "model.safetensors"))
    return model.to(dtype).eval().requires_grad_(False)


class Prompts:
    """Extra tokens of the two towers, by the layer that they enter, and a second last layer; none here."""

    def logits(self, features, logits):
        return logits

    # The model as peft holds it, of a method that is peft's.
    peft = None

    def text(self, layer):
        return None

    def vision(self, layer):
        return None

    def see(self, embedding):
        """Takes CLIP's embeddings of the images, before the text tower runs."""

    # What runs both towers in step instead: vision states and embeddings of the texts.
    in_step = None


def with_tokens(x, start, count, tokens):
    """Puts `tokens` after the first `start`, instead of the `count` that are there."""
    if tokens is None:
        return x, count
    if tokens.ndim == 2:
        tokens = tokens.expand(len(x), -1, -1)
    return torch.cat([x[:, :start], tokens, x[:, start + count :]], 1), tokens.shape[1]


def towers(model, prompts):
    """Vision states after each layer, and embeddings of the texts."""
    dtype = model.decoder.film_mul.weight.dtype
    tower = model.clip.vision_model
    x = tower.embeddings(batch["pixel_values"][:ROWS].to(dtype))
    own, count = x.shape[1], 0
    x, count = with_tokens(x, own, count, prompts.vision(0))
    x = tower.pre_layrnorm(x)
    taps = {}
    for index, layer in enumerate(tower.encoder.layers):
        if index > 0:
            x, count = with_tokens(x, own, count, prompts.vision(index))
        x = layer(x, attention_mask=None)
        taps[index] = x[:, :own]
    prompts.see(model.clip.visual_projection(tower.post_layernorm(x[:, 0])))

    tower = model.clip.text_model
    x, count = with_tokens(tower.embeddings.token_embedding(ids), 1, 0, prompts.text(0))
    x = x + tower.embeddings.position_embedding.weight[: x.shape[1]]
    for index, layer in enumerate(tower.encoder.layers):
        if index > 0:
            x, count = with_tokens(x, 1, count, prompts.text(index))
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf, dtype=dtype).triu(1)
        x = layer(x, attention_mask=mask.expand(len(x), 1, -1, -1))
    ends = (ids == config.text_config.eos_token_id).int().argmax(-1) + count
    pooled = tower.final_layer_norm(x)[torch.arange(len(x)), ends]
    return taps, model.clip.text_projection(pooled)


def forward(model, prompts=Prompts()):
    """Logits [ROWS, side, side] with both towers under autograd."""
    taps, conditional = prompts.in_step(model) if prompts.in_step else towers(model, prompts)

    # Written out: Transformers' `squeeze` and output classes add nothing.
    decoder = model.decoder
    y = 0
    steps = zip(config.extract_layers[::-1], decoder.layers, decoder.reduces)
    for index, (tap, layer, reduce) in enumerate(steps):
        y = reduce(taps[tap]) + y
        if index == config.conditional_layer:
            y = decoder.film_mul(conditional)[:, None] * y + decoder.film_add(conditional)[:, None]
        y = layer(y, attention_mask=None)
    y = y[:, 1:].transpose(1, 2)
    side = int(y.shape[2] ** 0.5)
    features = y.reshape(ROWS, -1, side, side)
    return prompts.logits(features, decoder.transposed_convolution(features)).squeeze(1)


def layers_of(model):
    """The changed layers of both towers with their names in adapter files."""
    for tower, name, count in [("vision", "vision_model", V_LAYERS), ("text", "text_model", L_LAYERS)]:
        layers = getattr(model.clip, name).encoder.layers
        for index in range(count):
            yield tower, index, layers[index]


LINEAR = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "out_proj": "self_attn", "fc1": "mlp", "fc2": "mlp"}


def of_layer(layer, name):
    return getattr(getattr(layer, LINEAR[name]), name)


# Each function below takes a model and returns its trained parameters by their names in adapter files, and its prompts.


def with_peft(model, peft_config, names):
    peft_model = get_peft_model(model, peft_config)
    parameters = {}
    for tower, index, layer in layers_of(peft_model.base_model.model):
        for name in LINEAR:
            linear = of_layer(layer, name)
            for ours, theirs in names.items():
                holder = getattr(linear, theirs, None)
                if holder is None or "default" not in holder:
                    continue
                parameter = holder["default"]
                parameter = getattr(parameter, "weight", parameter)
                parameters[f"{tower}.{index}.{name}.{ours}"] = parameter
    prompts = Prompts()
    prompts.peft = peft_model
    return parameters, prompts


ALL = "|".join(LINEAR)
TARGETS = rf".*(vision_model\.encoder\.layers\.[0-{V_LAYERS - 1}]|text_model\.encoder\.layers\.\d)\..*({{}})"


def lora(model):
    peft_config = LoraConfig(r=3, lora_alpha=4.5, target_modules=TARGETS.format(ALL))
    names = {"a.weight": "lora_A", "b.weight": "lora_B"}
    parameters, prompts = with_peft(model, peft_config, names)
    renamed = lambda name: name.replace("vision.", "v_lora.").replace("text.", "l_lora.")
    return {renamed(name): parameter for name, parameter in parameters.items()}, prompts


def lora_biases(model):
    """LoRA, and all biases of the layers that it changes."""
    peft_config = LoraConfig(r=3, lora_alpha=4.5, target_modules=TARGETS.format("q_proj|v_proj"))
    parameters, prompts = with_peft(model, peft_config, {"a.weight": "lora_A", "b.weight": "lora_B"})
    renamed = lambda name: name.replace("vision.", "v_lora.").replace("text.", "l_lora.")
    parameters = {renamed(name): parameter for name, parameter in parameters.items()}
    return parameters | of_base(model, lambda name: name.endswith("bias"))[0], prompts


def dora(model):
    peft_config = LoraConfig(r=3, lora_alpha=4.5, use_dora=True, target_modules=TARGETS.format("q_proj|v_proj|fc1"))
    names = {"direction.a.weight": "lora_A", "direction.b.weight": "lora_B", "magnitude": "lora_magnitude_vector"}
    return with_peft(model, peft_config, names)


def ia3(model):
    modules = TARGETS.format("k_proj|v_proj|fc2")
    peft_config = IA3Config(target_modules=modules, feedforward_modules=TARGETS.format("fc2"))
    return with_peft(model, peft_config, {"l": "ia3_l"})


def ssf(model):
    """Lian et al. 2022, equation 2, after each linear layer and norm."""
    parameters = {}

    def scaled(module, name, width):
        dtype = module.weight.dtype
        scale, shift = nn.Parameter(torch.ones(width, dtype=dtype)), nn.Parameter(torch.zeros(width, dtype=dtype))
        module.register_forward_hook(lambda _module, _input, output: output * scale + shift)
        parameters.update({f"{name}.scale": scale, f"{name}.shift": shift})

    for tower, index, layer in layers_of(model):
        for norm in ["layer_norm1", "layer_norm2"]:
            scaled(getattr(layer, norm), f"{tower}.{index}.{norm}", getattr(layer, norm).weight.shape[0])
        for name in LINEAR:
            linear = of_layer(layer, name)
            scaled(linear, f"{tower}.{index}.matrices.{name}", linear.out_features)
    return parameters, Prompts()


def of_base(model, wanted):
    parameters = {}
    for tower, index, layer in layers_of(model):
        for name, parameter in layer.named_parameters():
            if wanted(name):
                # peft puts the matrices that it changes one level deeper.
                own = name.replace(".base_layer", "")
                full = f"clipseg.clip.{tower}_model.encoder.layers.{index}.{own}"
                parameters[full] = parameter.requires_grad_(True)
    return parameters, Prompts()


def bitfit(model):
    return of_base(model, lambda name: name.endswith("bias"))


def layer_norm(model):
    return of_base(model, lambda name: "layer_norm" in name)


def adaptformer(model):
    """Chen et al. 2022, equations 2 and 3: a block parallel to the MLP, on the same normalised input, scaled by 0.1."""
    parameters = {}
    for tower, index, layer in layers_of(model):
        width = V if tower == "vision" else L
        down, up = (nn.Linear(*shape).to(layer.mlp.fc1.weight.dtype) for shape in [(width, 3), (3, width)])
        layer.mlp.register_forward_hook(
            lambda _module, inputs, output, down=down, up=up: output + 0.1 * up(F.relu(down(inputs[0])))
        )
        for name, linear in [("fc1", down), ("fc2", up)]:
            for field, parameter in linear.named_parameters():
                parameters[f"{tower[0].replace('t', 'l')}_out_adapters.{index}.{name}.{field}"] = parameter
    return parameters, Prompts()


class LearntPrompts(Prompts):
    """Tokens `[depth, tokens, width]`; `text_of` and `vision_of` compute a layer's tokens of a tower from them, or nothing."""

    def __init__(self, vectors, text_of=None, vision_of=None):
        self.vectors, self.text_of, self.vision_of = vectors, text_of, vision_of

    def tokens(self, of, layer):
        return of(layer, self.vectors[layer]) if of and layer < len(self.vectors) else None

    def text(self, layer):
        return self.tokens(self.text_of, layer)

    def vision(self, layer):
        return self.tokens(self.vision_of, layer)


def vectors_of(model, *shape):
    return nn.Parameter(torch.zeros(shape, dtype=model.decoder.film_mul.weight.dtype))


def learnt(vectors, layers):
    """Parameters by TuneVLSeg's names; `layers` are lists of modules."""
    parameters = {"context_learner.context_vectors": vectors}
    for name, modules in layers.items():
        modules = nn.ModuleList(modules).to(vectors.dtype)
        for key, parameter in modules.named_parameters():
            parameters[f"context_learner.{name}.{key}"] = parameter
    return parameters


def own(_layer, tokens):
    return tokens


def coop(model):
    vectors = vectors_of(model, 2, 3, L)
    return learnt(vectors, {}), LearntPrompts(vectors, text_of=own)


class NormScale(nn.Module):
    """A layer norm without a shift, as TuneVLSeg's `nn.LayerNorm(width, bias=False)`."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:], self.weight)


def cocoop(model):
    """Zhou et al. 2022 (CoCoOp), section 3.2, with the network of TuneVLSeg, on CLIP's projected embedding of the image."""
    vectors = vectors_of(model, 2, 3, L)
    D = config.projection_dim
    layers = [nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.Linear(6, L, bias=False), NormScale(L)) for _ in range(2)]
    parameters = learnt(vectors, {"projection_layers": layers})
    prompts = LearntPrompts(vectors)
    prompts.see = lambda embedding: setattr(
        prompts, "text_of", lambda i, tokens: tokens[None] + layers[i](embedding)[:, None]
    )
    return parameters, prompts


class ProbabilisticAttention(nn.Module):
    """Tokens attend to others whose keys and values have a mean and a variance; the values are their mean."""

    def __init__(self, width):
        super().__init__()
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj, self.v_proj = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.norm_k, self.norm_v = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.tensor(0.0))

    def forward(self, query, context):
        width = query.shape[-1]
        q, (k, k_spread) = self.q_proj(query), self.k_proj(context).chunk(2, -1)
        k_variance = F.softplus(k_spread) + 1e-6
        v = self.norm_v(self.v_proj(context).chunk(2, -1)[0])
        mean = torch.einsum("bqc,bkc->bqk", q, self.norm_k(k)) / width**0.5
        variance = torch.einsum("bqc,bkc->bqk", q**2, k_variance) / width
        read = self.out_proj((mean - 2.35 * variance.sqrt()).softmax(-1) @ v)
        share = self.gate.sigmoid()
        return share * read + (1 - share) * query


class PvlAdapter(nn.Module):
    def __init__(self, width):
        super().__init__()
        down, up = (lambda of: nn.Linear(of, width, bias=False)), (lambda of: nn.Linear(width, of, bias=False))
        self.proj_vis_down, self.proj_txt_down = nn.Sequential(down(V)), down(L)
        self.proj_vis_up, self.proj_txt_up = up(V), up(L)
        ways = {"cross_attn_img_to_txt": ProbabilisticAttention(width), "cross_attn_txt_to_img": ProbabilisticAttention(width)}
        self.two_way = nn.ModuleDict(ways)

    def forward(self, vision, text):
        image, words = self.proj_vis_down(vision), self.proj_txt_down(text)
        image = self.two_way["cross_attn_img_to_txt"](image, words)
        words = self.two_way["cross_attn_txt_to_img"](words, image)
        return self.proj_vis_up(image), self.proj_txt_up(words)


def pvl(model, padded=False):
    """MedCLIPSeg's adapters before the layers 1, 2, ... of both towers, where the values are not drawn."""
    dtype = model.decoder.film_mul.weight.dtype
    adapters = nn.ModuleList([PvlAdapter(6) for _ in range(1, L_LAYERS)]).to(dtype)

    def in_step(model):
        states, embeddings = [], []
        for row in range(ROWS):
            # Each text alone: of its own length, or padded with 0 to the context as by OpenAI's tokenizer.
            end = int((ids[row] == config.text_config.eos_token_id).int().argmax())
            own = ids[row : row + 1, : end + 1]
            if padded:
                own = F.pad(own, (0, config.text_config.max_position_embeddings - own.shape[1]))
            vision, text = model.clip.vision_model, model.clip.text_model
            x = vision.pre_layrnorm(vision.embeddings(batch["pixel_values"][row : row + 1].to(dtype)))
            y = text.embeddings.token_embedding(own)
            y = y + text.embeddings.position_embedding.weight[: y.shape[1]]
            mask = torch.full((y.shape[1], y.shape[1]), -torch.inf, dtype=dtype).triu(1)[None, None]
            own_states = []
            for index in range(max(V_LAYERS, L_LAYERS)):
                if 0 < index < L_LAYERS:
                    more_x, more_y = adapters[index - 1](x, y)
                    x, y = x + more_x, y + more_y
                if index < V_LAYERS:
                    x = vision.encoder.layers[index](x, attention_mask=None)
                    own_states.append(x)
                if index < L_LAYERS:
                    y = text.encoder.layers[index](y, attention_mask=mask)
            states.append(own_states)
            embeddings.append(model.clip.text_projection(text.final_layer_norm(y)[:, end]))
        taps = {index: torch.cat([own[index] for own in states]) for index in range(V_LAYERS)}
        return taps, torch.cat(embeddings)

    prompts = Prompts()
    prompts.in_step = in_step
    return {f"pvl_adapters.{name}": parameter for name, parameter in adapters.named_parameters()}, prompts


def pvl_paper(model):
    return pvl(model, padded=True)


def vpt(model):
    vectors = vectors_of(model, V_LAYERS, 3, V)
    return learnt(vectors, {}), LearntPrompts(vectors, vision_of=own)


def vpt_shallow(model):
    vectors = vectors_of(model, 1, 5, V)
    return learnt(vectors, {}), LearntPrompts(vectors, vision_of=own)


def maple(model):
    vectors = vectors_of(model, 2, 3, L)
    layers = [nn.Sequential(nn.Linear(L, 6), nn.ReLU(), nn.Linear(6, V, bias=False), nn.LayerNorm(V)) for _ in range(2)]
    return learnt(vectors, {"projection_layers": layers}), LearntPrompts(vectors, own, lambda i, x: layers[i](x))


def shared_separate(model):
    vectors = vectors_of(model, 2, 3, 6)
    text, vision = ([nn.Linear(6, width) for _ in range(2)] for width in [L, V])
    parameters = learnt(vectors, {"textual_projection_layers": text, "visual_projection_layers": vision})
    return parameters, LearntPrompts(vectors, lambda i, x: text[i](x), lambda i, x: vision[i](x))


def shared_attn(model, batch_first=True):
    vectors = vectors_of(model, 2, 3, L + V)
    layer = lambda: nn.TransformerEncoderLayer(L + V, 4, 10, dropout=0.0, norm_first=True, batch_first=batch_first)
    layers = [layer() for _ in range(2)]
    # As in the published code, where `batch_first` has its default and the tokens are therefore sequences of one.
    through = lambda i, x: layers[i](x[None])[0]
    parameters = learnt(vectors, {"projection_layers": layers})
    return parameters, LearntPrompts(vectors, lambda i, x: through(i, x)[:, :L], lambda i, x: through(i, x)[:, L:])


def shared_attn_paper(model):
    return shared_attn(model, batch_first=False)


def head(model):
    """CoOp with TuneVLSeg's output head: a convolution after upsampling, mixed with the pretrained layer."""
    parameters, prompts = coop(model)
    dtype = model.decoder.film_mul.weight.dtype
    layer = nn.Sequential(
        nn.Upsample(scale_factor=float(config.vision_config.patch_size), mode="bilinear"),
        nn.Conv2d(config.reduce_dim, 1, 5, padding="same", padding_mode="replicate"),
    ).to(dtype)
    share = nn.Parameter(torch.tensor(0.5, dtype=dtype))
    prompts.logits = lambda features, logits: (1 - share) * logits + share * layer(features)
    named = {f"additive_decoder_layer.{name}": parameter for name, parameter in layer.named_parameters()}
    return parameters | named | {"residual_ratio": share}, prompts


METHODS = {
    "lora": (lora, dict(kind="lora", towers="vl", bottleneck=3, scale=1.5, projections=["query", "key", "value", "output", "fc1", "fc2"])),
    "lora_biases": (lora_biases, dict(kind="lora", towers="vl", bottleneck=3, scale=1.5, train_biases=True)),
    "dora": (dora, dict(kind="dora", bottleneck=3, scale=1.5, projections=["query", "value", "fc1"])),
    "ia3": (ia3, dict(kind="ia3")),
    "ssf": (ssf, dict(kind="ssf")),
    "bitfit": (bitfit, dict(kind="bitfit")),
    "layer_norm": (layer_norm, dict(kind="layer-norm")),
    "adaptformer": (adaptformer, dict(kind="dense", towers="vl", bottleneck=3, sublayers="mlp", connection="parallel", scale=0.1)),
    "coop": (coop, dict(kind="coop", tokens=3, depth=2)),
    "cocoop": (cocoop, dict(kind="cocoop", tokens=3, depth=2, bottleneck=6)),
    "head": (head, dict(kind="coop", tokens=3, depth=2, head=True)),
    "pvl": (pvl, dict(kind="pvl", bottleneck=6)),
    "pvl_paper": (pvl_paper, dict(kind="pvl", bottleneck=6, profile="paper")),
    "vpt": (vpt, dict(kind="vpt", tokens=3)),
    "vpt_shallow": (vpt_shallow, dict(kind="vpt", tokens=5, depth=1)),
    "maple": (maple, dict(kind="maple", tokens=3, depth=2, bottleneck=6)),
    "shared_separate": (shared_separate, dict(kind="shared-separate", tokens=3, depth=2, bottleneck=6)),
    "shared_attn": (shared_attn, dict(kind="shared-attn", tokens=3, depth=2, bottleneck=10, heads=4)),
    "shared_attn_paper": (shared_attn_paper, dict(kind="shared-attn", tokens=3, depth=2, bottleneck=10, heads=4, profile="paper")),
}


def run(make, dtype, values, seed):
    """Logits and gradients; parameters start at `values`, or at random ones that are returned."""
    # For what PyTorch draws when it makes a layer.
    torch.manual_seed(seed)
    model = clipseg(dtype)
    parameters, prompts = make(model)
    generator = torch.Generator().manual_seed(seed)
    if values is None:
        values = {}
        for name, parameter in parameters.items():
            noise = torch.randn(parameter.shape, generator=generator)
            values[name] = (parameter.detach().float() + 0.1 * noise).contiguous()
    for name, parameter in parameters.items():
        parameter.requires_grad_(True)
        with torch.no_grad():
            parameter.copy_(values[name])
    logits = forward(model, prompts)
    index = torch.arange(logits.numel())
    weights = ((index // 97 % 7 - 2) / 4).to(dtype).view_as(logits)
    (logits * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    return values, logits.detach(), gradients


def measured(make, seed):
    """A case and its noise."""
    values, logits, gradients = run(make, torch.float64, None, seed)
    _, rough, rough_gradients = run(make, torch.float32, values, seed)
    of_logits = (rough - logits).abs().max() / (logits.max() - logits.min())
    largest = max(gradient.norm() for gradient in gradients.values())
    sizes = {key: max(g.norm(), 1e-3 * largest) for key, g in gradients.items()}
    of_gradients = max((rough_gradients[key] - g).norm() / sizes[key] for key, g in gradients.items())
    return values, logits, gradients, (of_logits, of_gradients)


def save_peft(make, values, folder):
    """The adapter as peft writes it."""
    parameters, prompts = make(clipseg(torch.float32))
    if prompts.peft is None or any(name.startswith("clipseg.") for name in parameters):
        return
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
    prompts.peft.save_pretrained(folder)
    (folder / "README.md").unlink()


# A seed can pass the check below although a unit is so close to zero that images off by 1e-6 change gradients by percents, as another
# device's rounding does. With this one eight such images change none by more than 2e-4.
FIRST_SEED = {"pvl_paper": 38}

wanted = sys.argv[3:] or METHODS
for name in wanted:
    make, method = METHODS[name]
    # Where a unit of a ReLU is almost zero, rounding turns it on or off and a gradient is off by 1e-3. Other parameters are then
    # drawn, so that f32 can be compared.
    for seed in range(FIRST_SEED.get(name, 0), 100):
        values, logits, gradients, noise = measured(make, seed)
        if noise[1] < 1e-4:
            break
    flat = lambda key, tensor: tensor.flatten() if key.endswith((".l", ".magnitude")) else tensor
    tensors = {f"param.{key}": flat(key, value) for key, value in values.items()}
    tensors |= {f"grad.{key}": flat(key, value) for key, value in gradients.items()}
    tensors |= {"logits": logits, "noise": torch.tensor([float(x) for x in noise])}
    tensors = {key: value.float().contiguous().clone() for key, value in tensors.items()}
    out.mkdir(exist_ok=True)
    save_peft(make, values, out / f"{name}_peft")
    path = out / f"{name}.safetensors"
    save_file(tensors, path, {"method": json.dumps(method), "format": "pt"})
    count = sum(value.numel() for value in values.values())
    print(f"{name}: seed {seed}, {count} parameters, noise of logits {noise[0]:.1e}, of gradients {noise[1]:.1e}, {path.stat().st_size >> 10} kB")
