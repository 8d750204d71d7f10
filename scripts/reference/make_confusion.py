"""Prints reference values for crates/vlsm-data/src/confusion_tests.rs: confusion matrix and IoU by scikit-learn and torchmetrics.

    pip install scikit-learn==1.9.1 torchmetrics==1.9.0
    python scripts/reference/make_confusion.py

The data are three images of ids 0 to 4 (5 is ignored) from a small generator that the test repeats. Class 3 is not in the
ground truth, class 4 neither there nor in the predictions; every 17th prediction is no class (255).
"""

import numpy as np
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score
from torchmetrics.classification import MulticlassJaccardIndex

state = 2024


def below(limit):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % limit


truths, predictions = [], []
for width, height in [(13, 7), (8, 9), (20, 5)]:
    for _ in range(width * height):
        truth = [0, 0, 0, 1, 1, 2, 5][below(7)]
        guess = below(4) if below(3) == 0 else min(truth, 2)
        truths.append(truth)
        predictions.append(255 if below(17) == 0 else guess)
truths, predictions = np.array(truths), np.array(predictions)
known = truths != 5
truths, predictions = truths[known], predictions[known]

matrix = confusion_matrix(truths, predictions, labels=[0, 1, 2, 3, 4, 255])
print("confusion", matrix.tolist())
iou = jaccard_score(truths, predictions, labels=range(5), average=None, zero_division=0)
recall = recall_score(truths, predictions, labels=range(5), average=None, zero_division=0)
print("iou", iou.tolist())
print("miou over classes 0 to 3", iou[:4].mean())
print("accuracy", recall.tolist(), "mean over classes 0 to 2", recall[:3].mean())
print("pixel accuracy", accuracy_score(truths, predictions))

# torchmetrics does not support predictions without a class, so those pixels become class 3 here.
guess = torch.from_numpy(np.where(predictions == 255, 3, predictions))
metric = MulticlassJaccardIndex(5, average="macro")
print("torchmetrics, none as class 3", metric(guess, torch.from_numpy(truths)).item())
