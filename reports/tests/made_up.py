"""Made-up results of every kind, for tests and for a look at the page."""

import dataclasses
import math
from typing import Any

from reports.results import Result

CLAIMS = (
    (
        "renormalization/rescale-at-least-repair",
        "superiority",
        "At the WM midpoint of plain VGG, RESCALE is at least as good as REPAIR.",
    ),
    (
        "renormalization/rescale-average-suffices",
        "non-inferiority",
        "One average target deviation per layer recovers most of RESCALE's gain.",
    ),
    (
        "renormalization/reshift-ruins",
        "equivalence",
        "Correcting means alone does not help: RESHIFT ends at chance.",
    ),
    (
        "matching/plain-nets-stay-broken",
        "superiority",
        "WM leaves plain VGG and ResNet midpoints far below the endpoints.",
    ),
    (
        "matching/barrier-at-midpoint",
        "proportion",
        "The largest barrier over 11 lambdas is at 0.5.",
    ),
    (
        "biases/removing-biases",
        "superiority",
        "Removing biases and fine-tuning lowers the accuracy barrier after matching.",
    ),
)
SETTINGS = ("mlp", "plain-vgg", "nobias-vgg", "bn-vgg", "plain-resnet")
PAPER = [
    {"label": "VGG16/CIFAR-10, WM + REPAIR", "value": 75.1, "spread": 4.09},
    {"label": "VGG16/CIFAR-10, WM + RESCALE", "value": 84.32, "spread": 0.77},
    {
        "label": "VGG11/CIFAR-100 (Table 5), AM + RESCALE",
        "value": 45.33,
        "spread": None,
    },
]


def wave(seed: float, size: float = 1.0) -> float:
    """A number in [-size, size] that differs from seed to seed, always the same."""
    return size * math.sin(12.9898 * seed + 4.1)


def made(**changes: Any) -> Result:
    """Make a supported result of eight pairs with curves, but for the changes."""
    pairs = [
        {
            "pair": f"{2 * k}-{2 * k + 1}",
            "midpoint": 13.0 + wave(k, 3),
            "REPAIR": 80.0 + wave(k + 20, 2.5),
            "RESCALE": 81.2 + wave(k + 40, 1.5),
            "difference": 1.2 + wave(k + 60, 1.1),
        }
        for k in range(8)
    ]
    lambdas = [k / 10 for k in range(11)]
    lines = {
        name: [
            [
                97 - drop * math.sin(math.pi * at) ** 2 + wave(k + at, 1.5)
                for at in lambdas
            ]
            for k in range(8)
        ]
        for name, drop in (("WM", 84), ("REPAIR", 17), ("RESCALE", 14))
    }
    record: dict[str, Any] = {
        "id": "renormalization/rescale-at-least-repair",
        "setting": "plain-vgg",
        "variant": "weights",
        "scale": "digits",
        "kind": "empirical",
        "sentence": CLAIMS[0][2],
        "source": "arXiv:2402.05966v1, section 4.1, Tables 1 and 4",
        "quantity": "RESCALE - REPAIR, test accuracy of the midpoint",
        "unit": "points",
        "rule": "superiority",
        "decision": "mean difference > -3 points, one-sided 95%",
        "margin": -3.0,
        "alpha": 0.05,
        "verdict": "supported",
        "expected": "supported",
        "reason": "",
        "estimate": 1.2,
        "low": 0.4,
        "high": 2.0,
        "p": 0.003,
        "p_holm": 0.05,
        "n": 8,
        "detectable": 0.9,
        "pairs": pairs,
        "curves": {
            "lambda": lambdas,
            "unit": "test accuracy in percent",
            "lines": lines,
        },
        "paper": PAPER,
        "fixtures": [
            {
                "name": "plain-vgg",
                "key": "0123456789abcdef" * 4,
                "seeds": list(range(16)),
            }
        ],
        "device": "cpu",
        "versions": {"python": "3.11.7", "torch": "2.12.1"},
        "commit": "0f" * 20,
        "seconds": 1.23,
        "nodeid": "claims/test_renormalization.py::test_rescale[plain-vgg-weights]",
        "outcome": "passed",
    }
    return dataclasses.replace(Result.from_json(record), **changes)


def session() -> list[Result]:
    """Make sixty results: six claims, five settings, two variants, every status."""
    results = []
    for c, (name, rule, sentence) in enumerate(CLAIMS):
        for k in range(10):
            changes: dict[str, Any] = {
                "id": name,
                "rule": rule,
                "sentence": sentence,
                "setting": SETTINGS[k // 2],
                "variant": ("weights", "activations")[k % 2],
                "estimate": (at := wave(c + 0.1 * k, 9)),
                "low": at - 1.3 - wave(k, 0.5),
                "high": at + 1.3 + wave(k, 0.5),
            }
            if c % 2:
                changes["curves"] = None
            if rule == "proportion":
                changes |= {
                    "estimate": 0.91,
                    "low": 0.74,
                    "high": None,
                    "unit": "",
                    "margin": 0.8,
                    "paper": [],
                }
            results.append(made(**changes | STATES.get(k + 10 * c, {})))
    return results


NOTHING = dict.fromkeys(("estimate", "low", "high", "p", "p_holm", "n", "detectable"))
STATES: dict[int, dict[str, Any]] = {
    3: {"verdict": "inconclusive", "p": 0.21, "p_holm": 1.0, "outcome": "inconclusive"},
    14: {
        "verdict": "refuted",
        "expected": "refuted",
        "reason": "At this width one deviation per layer is too coarse: the last two "
        "layers differ in scale by a factor of ten.",
        "outcome": "xfailed",
    },
    21: {"verdict": "refuted", "p": 0.99, "p_holm": 1.0, "outcome": "failed"},
    37: {
        **NOTHING,
        "verdict": "error",
        "pairs": [],
        "curves": None,
        "outcome": "failed",
        "error": "Diverged: recipe bn-vgg, seed 7, step 312: the loss is not finite.\n"
        "Lower the learning rate, or clip the gradient's norm.",
    },
    42: {
        "verdict": "supported",
        "expected": "refuted",
        "reason": "too narrow",
        "outcome": "failed",
    },
    55: {
        "kind": "invariant",
        "rule": "exact",
        "estimate": 2.3e-15,
        "low": None,
        "high": None,
        "p": None,
        "p_holm": None,
        "margin": 1e-12,
        "alpha": None,
        "paper": [],
        "curves": None,
        "unit": "",
    },
}
