"""Writes the labels of whole images by a segmenter and a CLIP for random numbers: fixtures/clip/labels.json.

    pip install numpy==2.4
    python scripts/reference/make_segment_labels.py fixtures/clip/labels.json

Written from the description of OVSeg (Liang et al. 2023): class score = segmenter ** 0.3 * clip ** 0.7, pixel score = sum over
proposals of class score times the mask, label = the largest. A mask without a pixel above 0.4 is not shown to the CLIP, whose
factor is then 1. All in f64.

- `masks`: six soft masks, of which one is faint, and their classes.
- `parts`: probabilities of three classes for each pixel. The proposals are the connected parts (8 neighbours) of the most likely
  class with at least four pixels; a class's probability in a part is the mean over its pixels, divided by the sum over classes.
"""

import json
import sys

import numpy as np

rng = np.random.default_rng(7)
WEIGHT = 0.7


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def smooth(maps, times):
    """Means over 3x3 pixels, so that maps have parts of some size."""
    for _ in range(times):
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="edge")
        height, width = maps.shape[1:]
        maps = sum(padded[:, y:y + height, x:x + width] for y in range(3) for x in range(3)) / 9
    return maps


def margin(scores):
    """How much the best class of a pixel or a part is ahead: rounding must not decide."""
    ranked = np.sort(scores, axis=0)
    return (ranked[-1] / ranked[-2]).min()


# --- Soft masks -----------------------------------------------------------------------------------------------------------
QUERIES, CLASSES, HEIGHT, WIDTH = 6, 4, 7, 9
masks = 1 / (1 + np.exp(-6 * smooth(rng.normal(size=(QUERIES, HEIGHT, WIDTH)), 1)))
masks[4] *= 0.35
segmenter = softmax(2 * rng.normal(size=(QUERIES, CLASSES + 1)))[:, :-1]
clip = softmax(20 * rng.normal(size=(QUERIES, CLASSES)) * 0.1)
seen = (masks > 0.4).any(axis=(1, 2))
assert seen.tolist() == [True] * 4 + [False, True]
factor = np.where(seen[:, None], clip, 1.0)
scores = segmenter ** (1 - WEIGHT) * factor ** WEIGHT
pixels = np.einsum("qc,qhw->chw", scores, masks)
alone = np.einsum("qc,qhw->chw", segmenter, masks)
assert margin(pixels) > 1.0001 and margin(alone) > 1.0001
soft = dict(
    masks=masks.tolist(), segmenter=segmenter.tolist(), clip=[row.tolist() if s else None for row, s in zip(clip, seen)],
    scores=scores.tolist(), alone=alone.argmax(0).tolist(), labels=pixels.argmax(0).tolist(),
)

# --- Connected parts ------------------------------------------------------------------------------------------------------
CLASSES, HEIGHT, WIDTH, LEAST = 3, 10, 12, 4
probability = 1 / (1 + np.exp(-8 * smooth(rng.normal(size=(CLASSES, HEIGHT, WIDTH)), 1)))
assert margin(probability) > 1.0001
own = probability.argmax(0)
parts, done = [], np.zeros((HEIGHT, WIDTH), bool)
for label in range(CLASSES):
    for start in zip(*np.where(own == label)):
        if done[start]:
            continue
        done[start] = True
        part, open_ = [], [start]
        while open_:
            y, x = open_.pop()
            part.append((y, x))
            for y2 in range(max(y - 1, 0), min(y + 2, HEIGHT)):
                for x2 in range(max(x - 1, 0), min(x + 2, WIDTH)):
                    if own[y2, x2] == label and not done[y2, x2]:
                        done[y2, x2] = True
                        open_.append((y2, x2))
        parts.append(sorted(part))
kept = [part for part in parts if len(part) >= LEAST]
assert len(kept) < len(parts)
means = np.array([[np.mean([probability[c, y, x] for y, x in part]) for c in range(CLASSES)] for part in kept])
segmenter = means / means.sum(1, keepdims=True)
clip = softmax(20 * rng.normal(size=(len(kept), CLASSES)) * 0.1)
scores = segmenter ** (1 - WEIGHT) * clip ** WEIGHT
assert margin(scores.T) > 1.0001
labels = own.copy()
for part, row in zip(kept, scores):
    for y, x in part:
        labels[y, x] = row.argmax()
assert (labels != own).any()
connected = dict(
    probability=probability.tolist(), min_area=LEAST, areas=[len(part) for part in kept], segmenter=segmenter.tolist(),
    clip=clip.tolist(), scores=scores.tolist(), alone=own.tolist(), labels=labels.tolist(),
)


def rounded(value):
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 7) if isinstance(value, float) else value


result = {name: {key: rounded(value) for key, value in part.items()} for name, part in dict(masks=soft, parts=connected).items()}
with open(sys.argv[1], "w") as file:
    file.write(json.dumps(result) + "\n")
print(f"{len(kept)} of {len(parts)} parts")
