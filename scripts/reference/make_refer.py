"""Prompts and parsed answers of LLM-wrapper's published code (github.com/valeoai/LLM_wrapper) on fifty cases.

    python scripts/reference/make_refer.py CHECKOUT fixtures/refer/cases.json

CHECKOUT is a checkout of that repository. Needs PyTorch.
"""

import importlib.machinery
import json
import random
import sys
import types
from pathlib import Path

checkout, out = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(checkout))
# Modules that the functions below do not use.
for name in ("matplotlib", "matplotlib.pyplot", "torchvision", "torchvision.ops", "tqdm", "PIL", "PIL.Image"):
    try:
        importlib.import_module(name)
    except ImportError:
        stub = types.ModuleType(name)
        stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
        stub.__getattr__ = lambda attribute: None
        sys.modules[name] = stub

import torch
from llm_wrapper.LLM_inference_script import design_prompt_for_step_3
from llm_wrapper.LLM_utils import extract_int_result_from_LLM_gen
from llm_wrapper.utils import convert_box_coord_list

rng = random.Random(7)
LABELS = ["a dog", "the left cup, red", "person's hat", "'quoted'", "größerer Baum", "一只猫", "tall man in\tblue", "polyp", "x" * 60]
EXPRESSIONS = ["the dog on the left", "largest polyp,", "it's the 2nd cup", "chien à gauche", "", "the box that is best, really."]
LLMS = {"llama3": "Meta-Llama-3-8B-Instruct", "mixtral": "Mixtral-8x7B-Instruct-v0.1", "gemma": "gemma-2-9b-it", "plain": "gpt-neo-125m"}
ANSWERS = [
    "0", "1", " 2 ", "'1'", '"3"', "Box 2.", "The best box is box 1, not 2.", "12", "007", "-1", "1.5", "", "none of them", "box two",
    "１", "3)", "I think 0\n1", "99999999999999999999", "\n\n4\n", "[2]",
]


def candidates(count):
    found = []
    for _ in range(count):
        cx, cy, w, h = (rng.choice([rng.uniform(-5, 640), float(rng.randint(0, 640)), 0.25 * rng.randint(0, 2000)]) for _ in range(4))
        box = [round(x, 1) for x in convert_box_coord_list([cx, cy, w, h], out_format="xyxy")]
        score = rng.choice([rng.random(), 1.0, 0.0, 0.5, 0.125, 0.375, 1e-4])
        found.append({"query": rng.choice(LABELS), "one_box": box, "one_score": score})
    return found


def arguments(version, second, llm):
    return types.SimpleNamespace(
        prompt_version=version, prompt_version_2=second, bbox_format="xyxy", HF_LLM_name=LLMS[llm],
        detector_name_bis=None if second is None else "GDINO_SwinT", max_nb_of_box_proposal=None,
    )


def plain(found, scores, detector=None):
    one = lambda c: {"box": c["one_box"], "label": c["query"], "score": c["one_score"] if scores else None, "detector": detector}
    return [one(c) for c in found]


cases = []
for number in range(50):
    frame = list(LLMS)[number % 4]
    expression = rng.choice(EXPRESSIONS)
    first = candidates(rng.choice([2, 3, 5, 12]))
    result = {"original_full_query": [expression]}
    if number % 3 != 2:
        version = 31 + number % 2
        args = arguments(version, None, frame)
        prompt, order = design_prompt_for_step_3(args, result, list_of_all_dict_info=first)
        listed = plain(first, version == 32)
    else:
        second = candidates(rng.choice([1, 4]))
        args = arguments(31, 32, frame)
        prompt, order = design_prompt_for_step_3(
            args, result, list_of_all_dict_info=first, this_detector="Florence-2-large-v2", end_prompt=False)
        more, order_2 = design_prompt_for_step_3(
            args, result, list_of_all_dict_info=second, box_count_start=len(first), this_detector="GDINO_SwinT",
            start_prompt=False, use_prompt_v2=True)
        prompt += more
        listed = plain(first, False, "Florence-2") + plain(second, True, "Grounding DINO")
    answer = ANSWERS[number % len(ANSWERS)]
    index, error = extract_int_result_from_LLM_gen(answer, LLMS[frame], True, nb_detected_boxes=len(listed))
    cases.append({"frame": frame, "expression": expression, "candidates": listed, "prompt": prompt, "answer": answer, "index": index, "error": error})

shuffles = []
for count in range(2, 8):
    for seed in (0, 2, 4, 6, 7):
        order = list(range(count))
        random.seed(seed)
        random.shuffle(order)
        shuffles.append({"count": count, "seed": seed, "order": order})

out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(json.dumps({"cases": cases, "shuffles": shuffles}, ensure_ascii=False, indent=1) + "\n")
print(len(cases), "cases,", sum(c["index"] is None for c in cases), "without an index")
