"""CLIPSeg with the adapters of VLSM-Adapter in PyTorch, computed in two ways that give the same logits.

`Published` computes what the published code computes. `Improved` is the same model with obvious optimisations,
so that the comparison is not only with unnecessary work.
"""

from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPSegForImageSegmentation
from transformers.modeling_attn_mask_utils import _create_4d_causal_attention_mask, _prepare_4d_attention_mask
from transformers.models.clipseg.modeling_clipseg import CLIPSegAttention, CLIPSegEncoderLayer

Method = Literal["dense", "shallow", "decoder", "full", "zero-shot"]


class Adapter(nn.Module):
    """The published block, `x + relu(fc2(relu(fc1(x))))`, with PyTorch's default initialisation."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, bottleneck)
        self.fc2 = nn.Linear(bottleneck, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.fc2(F.relu(self.fc1(x))))


def adapters(count: int, width: int, bottleneck: int) -> nn.ModuleList:
    return nn.ModuleList(Adapter(width, bottleneck) for _ in range(count))


def adapt(blocks: nn.ModuleList, index: int, x: Tensor) -> Tensor:
    """Block `index` applied to `x`; `x` itself if there is no such block."""
    return blocks[index](x) if index < len(blocks) else x


def at_end_of_text(states: Tensor, input_ids: Tensor) -> Tensor:
    """[prompts, tokens, width] -> [prompts, width]: the states at the end-of-text token, the largest id."""
    return states[torch.arange(len(states)), input_ids.argmax(-1)]


class Segmenter(nn.Module):
    """A CLIPSeg with the adapters of `method` (towers "vlc"); subclasses define the forward pass.

    The adapters have the published names. `bottleneck` is 64 for dense and 512 for shallow adapters
    in the published configurations.
    """

    def __init__(self, clipseg: CLIPSegForImageSegmentation, method: Method, bottleneck: int | None = None) -> None:
        super().__init__()
        self.clipseg = clipseg
        self.method = method
        self.taps: list[int] = clipseg.config.extract_layers
        vision = clipseg.config.vision_config.hidden_size
        text = clipseg.config.text_config.hidden_size

        clipseg.requires_grad_(method == "full")
        clipseg.decoder.requires_grad_(method in ("full", "decoder"))

        # Published: as many as the index of the last tap, so the tapped layer itself has none.
        count, size = (max(self.taps), bottleneck or 64) if method == "dense" else (0, 0)
        self.v_attn_adapters = adapters(count, vision, size)
        self.v_out_adapters = adapters(count, vision, size)
        self.l_attn_adapters = adapters(count, text, size)
        self.l_out_adapters = adapters(count, text, size)

        count, size = (len(self.taps), bottleneck or 512) if method == "shallow" else (0, 0)
        self.vision_extract_adapters = adapters(count, vision, size)
        self.text_extract_adapters = adapters(count, text, size)

        adapted = method in ("dense", "shallow")
        self.cond_adapter = Adapter(clipseg.config.projection_dim, 256) if adapted else nn.Identity()

    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def vision_layer(self, index: int, x: Tensor) -> Tensor:
        """Layer `index` of the vision tower with its dense adapters; [images, tokens, width]."""
        layer = self.clipseg.clip.vision_model.encoder.layers[index]
        return dense_layer(layer, index, x, self.v_attn_adapters, self.v_out_adapters)

    def text_layer(self, index: int, x: Tensor, **masks: Tensor) -> Tensor:
        """Layer `index` of the text tower with its dense adapters; [prompts, tokens, width]."""
        layer = self.clipseg.clip.text_model.encoder.layers[index]
        return dense_layer(layer, index, x, self.l_attn_adapters, self.l_out_adapters, **masks)

    def decode(self, tapped: list[Tensor], condition: Tensor, pixel_values: Tensor) -> Tensor:
        """The decoder on the tapped vision states and the conditional embedding; [prompts, 1, height, width]."""
        tapped = [adapt(self.vision_extract_adapters, i, x) for i, x in enumerate(tapped)]
        logits = self.clipseg.decoder(tapped, condition).logits
        return logits.view(len(condition), 1, *pixel_values.shape[-2:])


def dense_layer(
    layer: CLIPSegEncoderLayer,
    index: int,
    x: Tensor,
    attn_adapters: nn.ModuleList,
    out_adapters: nn.ModuleList,
    **masks: Tensor,
) -> Tensor:
    """An encoder layer with an adapter before each of its two residual additions."""
    attended, _ = layer.self_attn(layer.layer_norm1(x), **masks)
    x = x + adapt(attn_adapters, index, attended)
    return x + adapt(out_adapters, index, layer.mlp(layer.layer_norm2(x)))


class Published(Segmenter):
    """What the published code computes: every layer of both towers, prompts padded to the full length.

    `shallow` has no `no_grad` around the frozen towers there; nothing in them asks for a gradient, so
    no tape is kept, but all hidden states are. `decoder` is its "end-to-end", where Transformers runs
    both towers under `no_grad`. The published code has no `full`; here it is `decoder` without that.
    """

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [batch, 1, height, width] of as many images as prompts."""
        if self.method in ("decoder", "zero-shot"):
            output = self.clipseg(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)
            return output.logits.view(len(input_ids), 1, *pixel_values.shape[-2:])
        states = self.vision_states(pixel_values)
        tapped = [states[tap + 1] for tap in self.taps]
        return self.decode(tapped, self.condition(input_ids, attention_mask), pixel_values)

    def vision_states(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Input of the first layer, then the output of each layer."""
        vision = self.clipseg.clip.vision_model
        if self.method != "dense":
            return vision(pixel_values=pixel_values, output_hidden_states=True).hidden_states
        states = [vision.pre_layrnorm(vision.embeddings(pixel_values))]
        for index in range(len(vision.encoder.layers)):
            states.append(self.vision_layer(index, states[-1]))
        return tuple(states)

    def condition(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The conditional embedding of each prompt, [prompts, projection]."""
        text = self.clipseg.clip.text_model
        if self.method != "dense":
            output = text(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
            condition = self.cond_adapter(self.clipseg.clip.text_projection(output.pooler_output))
            for index, adapter in enumerate(self.text_extract_adapters):
                condition = condition + adapter(at_end_of_text(output.hidden_states[self.taps[index] + 1], input_ids))
            return condition
        x = text.embeddings(input_ids=input_ids)
        masks = {
            "attention_mask": _prepare_4d_attention_mask(attention_mask, x.dtype),
            "causal_attention_mask": _create_4d_causal_attention_mask(input_ids.shape, x.dtype, device=x.device),
        }
        for index in range(len(text.encoder.layers)):
            x = self.text_layer(index, x, **masks)
        pooled = at_end_of_text(text.final_layer_norm(x), input_ids)
        return self.cond_adapter(self.clipseg.clip.text_projection(pooled))


class FusedAttention(nn.Module):
    """Transformers' attention with `scaled_dot_product_attention`; parameters keep their names.

    Masks are ignored: the text tower is causal by `causal`, and nothing after a prompt's
    end-of-text token is used.
    """

    def __init__(self, eager: CLIPSegAttention, causal: bool) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = eager.q_proj, eager.k_proj, eager.v_proj, eager.out_proj
        self.heads = eager.num_heads
        self.causal = causal

    def forward(self, hidden_states: Tensor, **_: object) -> tuple[Tensor, None]:
        q, k, v = (
            project(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(attended.transpose(1, 2).flatten(-2)), None


class Improved(Segmenter):
    """The same logits with less work: fused attention everywhere, no vision layer after the last tap, text
    cut at the longest prompt, equal prompts encoded once, no tape in towers that are not trained, and one
    image run once for all its prompts."""

    def __init__(self, clipseg: CLIPSegForImageSegmentation, method: Method, bottleneck: int | None = None) -> None:
        super().__init__(clipseg, method, bottleneck)
        for layers, causal in (
            (clipseg.clip.vision_model.encoder.layers, False),
            (clipseg.clip.text_model.encoder.layers, True),
            (clipseg.decoder.layers, False),
        ):
            for layer in layers:
                layer.self_attn = FusedAttention(layer.self_attn, causal)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [prompts, 1, height, width] of as many images as prompts, or of one image for all prompts."""
        with nullcontext() if self.method in ("dense", "full") else torch.no_grad():
            tapped = self.tapped(pixel_values)
            ids, which = cut(input_ids).unique(dim=0, return_inverse=True)
            pooled, text_tapped = self.text(ids)
        condition = self.cond_adapter(pooled)
        for adapter, x in zip(self.text_extract_adapters, text_tapped):
            condition = condition + adapter(x)
        return self.decode(tapped, condition[which], pixel_values)

    def tapped(self, pixel_values: Tensor) -> list[Tensor]:
        """The tapped states of the vision tower, each [images, tokens, width]."""
        vision = self.clipseg.clip.vision_model
        x = vision.pre_layrnorm(vision.embeddings(pixel_values))
        states = {}
        for index in range(max(self.taps) + 1):
            x = self.vision_layer(index, x)
            if index in self.taps:
                states[index] = x
        return [states[tap] for tap in self.taps]

    def text(self, input_ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The projected embedding of each prompt, and the tapped states at its end-of-text token."""
        text = self.clipseg.clip.text_model
        x = text.embeddings(input_ids=input_ids)
        states = {}
        for index in range(len(text.encoder.layers)):
            x = self.text_layer(index, x)
            if index in self.taps:
                states[index] = at_end_of_text(x, input_ids)
        pooled = at_end_of_text(text.final_layer_norm(x), input_ids)
        return self.clipseg.clip.text_projection(pooled), [states[tap] for tap in self.taps]


class BFloat16(Improved):
    """`Improved` in autocast, which runs linear layers and attention in bfloat16."""

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As `Improved`, in f32."""
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(pixel_values, input_ids, attention_mask).float()


def cut(input_ids: Tensor) -> Tensor:
    """Drops the columns after the end of the longest prompt."""
    return input_ids[:, : int(input_ids.argmax(-1).max()) + 1]
