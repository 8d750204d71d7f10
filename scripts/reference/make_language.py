"""Small random decoder-only language models, their logits and their greedy answers by Transformers, and one with a LoRA of peft.

    python scripts/reference/make_language.py fixtures/language

Needs PyTorch, Transformers, peft and tokenizers.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

out = Path(sys.argv[1])
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {letter: at for at, letter in enumerate(alphabet)}
merges = [("Ġ", "b"), ("o", "x"), ("Ġb", "ox"), ("c", "u"), ("cu", "p")]
for pair in merges:
    vocabulary["".join(pair)] = len(vocabulary)
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(["<|endoftext|>"])
END = tokenizer.token_to_id("<|endoftext|>")
SIZE = END + 1

common = dict(vocab_size=SIZE, hidden_size=24, bos_token_id=END, eos_token_id=END)
llama = dict(common, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=1024)
cases = {
    "llama": (LlamaForCausalLM, LlamaConfig(**llama, num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=500.0)),
    "llama_tied": (LlamaForCausalLM, LlamaConfig(
        **llama, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "gpt_neo": (GPTNeoForCausalLM, GPTNeoConfig(
        **common, num_layers=4, num_heads=3, intermediate_size=None, window_size=5, max_position_embeddings=128,
        attention_types=[[["global", "local"], 2]])),
}
texts = ["In box 0: 'cup'", "a box", "the cup to the left of the largest box, größer.\nAnswer:"]
for number, (name, (kind, config)) in enumerate(cases.items()):
    torch.manual_seed(number)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Far from the small initial values, so that every part matters; norms start at 1.
            parameter.copy_(0.35 * torch.randn_like(parameter) + (1.0 if parameter.ndim == 1 and parameter.mean() > 0.9 else 0.0))
    folder = out / name
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    wide = kind(config).eval()
    wide.load_state_dict(model.state_dict())
    wide = wide.double()
    tensors, answers, noise = {}, [], 0.0
    for at, text in enumerate(texts):
        ids = tokenizer.encode(text).ids
        batch = torch.tensor([ids])
        with torch.no_grad():
            exact = wide(batch).logits[0]
            noise = max(noise, (model(batch).logits[0].double() - exact).abs().max().item())
            generated = wide.generate(batch, max_new_tokens=24, do_sample=False, pad_token_id=END)[0, len(ids):].tolist()
        tensors[f"logits.{at}"] = exact.float().contiguous()
        answers.append({"text": text, "ids": ids, "answer": generated})
    save_file(tensors, folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps({"answers": answers, "noise": noise, "end": END}, ensure_ascii=False) + "\n")
    print(name, sum(p.numel() for p in model.parameters()), "parameters, noise", noise, [len(a["answer"]) for a in answers])

# LLM-wrapper's published targets, the output layer among them.
model = LlamaForCausalLM.from_pretrained(out / "llama").eval()
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
torch.manual_seed(9)
adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=targets, lora_dropout=0.1, bias="none", task_type="CAUSAL_LM")).eval()
with torch.no_grad():
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.copy_(0.2 * torch.randn_like(parameter))
folder = out / "llama_lora"
adapted.save_pretrained(folder)
(folder / "README.md").unlink(missing_ok=True)
config = json.loads((folder / "adapter_config.json").read_text())
config["base_model_name_or_path"] = "llama"
config["target_modules"].sort()
(folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
ids = tokenizer.encode(texts[0]).ids
with torch.no_grad():
    logits = adapted.double()(torch.tensor([ids])).logits[0].float()
save_file({"logits": logits.contiguous()}, folder / "expected.safetensors")
print("lora", sorted(config), (folder / "adapter_model.safetensors").stat().st_size)
