"""Losses and LoRA gradients of the small language models of make_language.py, by Transformers and peft, in f64.

    python scripts/reference/make_language_training.py fixtures/language

Needs PyTorch, Transformers and peft. The published targets of LLM-wrapper are linear layers of every kind, the output layer among
them, which is tied to the embedding in GPT-Neo.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

out = Path(sys.argv[1])
# Two prompts of different lengths, with answers of one and of two tokens.
texts = [("In box 0: 'cup'.\nAnswer:", " 0"), ("the largest box\nAnswer:", "12")]
targets = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"],
    "gpt_neo": ["q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj", "lm_head"],
}
for number, (name, modules) in enumerate(targets.items()):
    torch.manual_seed(20 + number)
    tokenizer = Tokenizer.from_file(str(out / name / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(out / name, dtype=torch.float64)
    pairs = [(tokenizer.encode(prompt).ids, tokenizer.encode(answer).ids) for prompt, answer in texts]
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    seen = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(pairs):
        both = torch.tensor(prompt + answer)
        ids[row, : len(both)] = both
        seen[row, : len(both)] = 1
        labels[row, len(prompt) : len(both)] = torch.tensor(answer)
    tensors = {}
    whole = model(input_ids=ids, attention_mask=seen, labels=labels).loss
    tensors["loss.full"] = whole.detach()
    whole.backward()
    for parameter, value in model.named_parameters():
        # Of one layer, to keep the file small.
        if not any(f".{layer}." in parameter for layer in (1, 2, 3)):
            tensors[f"full.{parameter}"] = value.grad.clone()
    model.zero_grad()
    adapted = get_peft_model(
        model, LoraConfig(r=3, lora_alpha=6, target_modules=modules, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"))
    for parameter, value in adapted.named_parameters():
        if "lora_" in parameter:
            value.data.copy_(0.2 * torch.randn_like(value))
            tensors["start." + parameter.replace(".default", "")] = value.data.clone()
    loss = adapted(input_ids=ids, attention_mask=seen, labels=labels).loss
    loss.backward()
    tensors["loss.lora"] = loss.detach()
    for parameter, value in adapted.named_parameters():
        if "lora_" in parameter:
            tensors["lora." + parameter.replace(".default", "")] = value.grad.clone()
        else:
            assert value.grad is None or not value.grad.any() or not value.requires_grad, parameter
    with torch.no_grad():
        tensors["logits"] = adapted(input_ids=ids, attention_mask=seen).logits[0, : len(pairs[0][0])]
    tensors = {key: value.to(torch.float32).contiguous() for key, value in tensors.items()}
    folder = out / f"{name}_training"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "expected.safetensors")
    print(name, len(tensors), whole.item(), loss.item(), (folder / "expected.safetensors").stat().st_size)
