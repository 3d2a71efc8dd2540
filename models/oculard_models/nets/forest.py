"""A random forest as a network of plain operators: all trees go down one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Forest(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """What scikit-learn's RandomForestClassifier says: rows x features to rows x classes."""

    roots: Tensor
    left: Tensor
    right: Tensor
    asked: Tensor
    threshold: Tensor
    share: Tensor

    def __init__(self, forest: Any) -> None:
        super().__init__()
        trees = [one.tree_ for one in forest.estimators_]
        starts = np.cumsum([0, *(tree.node_count for tree in trees)])
        own = [np.arange(tree.node_count) for tree in trees]
        leaf = [tree.children_left < 0 for tree in trees]

        def down(name: str) -> Tensor:
            parts = [
                np.where(is_leaf, nodes, getattr(tree, name)) + start
                for tree, nodes, is_leaf, start in zip(trees, own, leaf, starts[:-1], strict=True)
            ]
            return torch.from_numpy(np.concatenate(parts).astype(np.int64))

        self.depth = max(int(tree.max_depth) for tree in trees)
        self.features = int(forest.n_features_in_)
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self.register_buffer("roots", torch.from_numpy(starts[:-1].astype(np.int64)))
        self.register_buffer("left", down("children_left"))
        self.register_buffer("right", down("children_right"))
        asked = np.maximum(np.concatenate([tree.feature for tree in trees]), 0)
        self.register_buffer("asked", torch.from_numpy(asked.astype(np.int64)))
        self.register_buffer("threshold", torch.from_numpy(np.concatenate([tree.threshold for tree in trees])).float())
        self.register_buffer("share", torch.from_numpy(values / values.sum(1, keepdims=True)).float())

    def forward(self, rows: Tensor) -> Tensor:
        """The mean over the trees of the shares of the classes in the leaf where a row ends."""
        flat = rows.reshape(-1)
        first = torch.arange(rows.shape[0])[:, None] * self.features
        at = self.roots[None] + torch.zeros_like(first)
        for _ in range(self.depth):
            value = flat[first + self.asked[at]]
            at = torch.where(value <= self.threshold[at], self.left[at], self.right[at])
        return self.share[at].mean(1)
