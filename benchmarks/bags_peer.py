"""What one would train without this library: attention-based deep multiple-instance learning in torch, bag by bag.

ABMIL (Ilse, Tomczak and Welling, arXiv:1802.04712): an encoder for each token, attention weights
softmax_l w^T tanh(V h_l) over the tokens of a bag, and a logistic output on the weighted mean of the codes. One bag a
step, the last epoch's network, threshold 1/2 on its probability: nothing is chosen on held-out bags.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

ATTENTION_WIDTH = 128


class Training(NamedTuple):
    """How a network is trained; the optimiser is SGD where there is a momentum, else Adam."""

    encoder: str
    learning_rate: float
    weight_decay: float
    momentum: float | None
    epochs: int


# The hyper-parameters for MUSK1 are those that MINNs (github.com/yanyongluan/MINNs) give for these three layers, and
# those for MNIST-bags are the defaults of the authors' code (github.com/AMLab-Amsterdam/AttentionDeepMIL).
DENSE = Training("dense", 5e-4, 5e-3, 0.9, 50)
LENET = Training("lenet", 5e-4, 1e-4, None, 20)


class Network(nn.Module):
    """ABMIL; a bag (L, d) in, the logit of its positive class out."""

    def __init__(self, encoder: str, dim: int) -> None:
        super().__init__()
        self.encoder, width = (dense(dim), 64) if encoder == "dense" else (lenet(), 500)
        self.scores = nn.Sequential(nn.Linear(width, ATTENTION_WIDTH), nn.Tanh(), nn.Linear(ATTENTION_WIDTH, 1))
        self.output = nn.Linear(width, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, bag: torch.Tensor) -> torch.Tensor:
        codes = self.encoder(bag)
        attention = torch.softmax(self.scores(codes), dim=0)
        return self.output((attention * codes).sum(dim=0))[0]


def dense(dim: int) -> nn.Sequential:
    """Three layers with dropout: the encoder of the classical benchmarks."""
    widths, layers = (dim, 256, 128, 64), []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers)


def lenet() -> nn.Sequential:
    """The convolutions of the MNIST-bags, on images of 784 pixels in a row."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU()),
    )


def fit(bags: Any, labels: np.ndarray, how: Training, seed: int) -> tuple[float, nn.Module]:
    """(wall seconds, network): `epochs` times through the bags in random order, labels 0 and 1."""
    torch.manual_seed(seed)
    inputs = [torch.as_tensor(np.ascontiguousarray(bag), dtype=torch.float32) for bag in bags]
    targets = torch.as_tensor(labels, dtype=torch.float32)
    begun = time.perf_counter()
    network = Network(how.encoder, inputs[0].shape[1]).train()
    weights, rate, decay = network.parameters(), how.learning_rate, how.weight_decay
    if how.momentum is None:
        optimiser: Any = torch.optim.Adam(weights, lr=rate, weight_decay=decay)
    else:
        optimiser = torch.optim.SGD(weights, lr=rate, weight_decay=decay, momentum=how.momentum)
    for _ in range(how.epochs):
        for i in torch.randperm(len(inputs)).tolist():
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(network(inputs[i]), targets[i]).backward()
            optimiser.step()
    return time.perf_counter() - begun, network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, bags: Any, labels: np.ndarray) -> float:
    """The share of bags on the right side of a probability of 1/2."""
    logits = [network(torch.as_tensor(np.ascontiguousarray(bag), dtype=torch.float32)).item() for bag in bags]
    return float(np.mean((np.array(logits) > 0.0) == (labels > 0)))
