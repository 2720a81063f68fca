"""Made-up results of every kind, for tests and for a look at the page."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import accepted, page
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
        "frequency",
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
    {
        "label": "VGG16/CIFAR-10, WM",
        "column": "decided",
        "value": 9.22,
        "spread": 4.16,
    },
    {
        "label": "VGG16/CIFAR-10, WM",
        "column": "repair",
        "value": 75.1,
        "spread": 4.09,
    },
    {
        "label": "VGG11/CIFAR-100 (Table 5), WM",
        "column": "rescale",
        "value": 45.33,
        "spread": None,
    },
]
CATALOGUE = Path(__file__).parent / "papers"
WHEN = "2026-11-20T21:00:00+00:00"


def wave(seed: float, size: float = 1.0) -> float:
    """A number in [-size, size] that differs from seed to seed, always the same."""
    return size * math.sin(12.9898 * seed + 4.1)


def made(**changes: Any) -> Result:
    """Make a supported result of eight pairs with curves, but for the changes."""
    pairs = [
        {
            "pair": f"{2 * k}-{2 * k + 1}",
            "midpoint": 13.0 + wave(k, 3),
            "repair": 80.0 + wave(k + 20, 2.5),
            "rescale": 81.2 + wave(k + 40, 1.5),
            "decided": 1.2 + wave(k + 60, 1.1),
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
        for name, drop in (("midpoint", 84), ("repair", 17), ("rescale", 14))
    }
    record: dict[str, Any] = {
        "id": "renormalization/rescale-at-least-repair",
        "setting": "plain-vgg",
        "variant": "weights",
        "scale": "digits",
        "kind": "empirical",
        "sentence": CLAIMS[0][2],
        "source": "arXiv:2402.05966v1, section 4.1, Tables 1 and 4",
        "quantity": "RESCALE minus REPAIR, test accuracy at the midpoint",
        "unit": "points",
        "rule": "superiority",
        "decision": "mean difference > 0.5 points, one-sided, alpha 0.005",
        "margin": 0.5,
        "alpha": 0.005,
        "verdict": "supported",
        "leaning": "",
        "estimate": 1.2,
        "low": 0.4,
        "high": 2.0,
        "spread": 0.65,
        "p": 0.003,
        "p_against": 0.997,
        "p_flip": 0.0039,
        "p_page": None,
        "n": 8,
        "detectable": 0.9,
        "needed": None,
        "grain": 0.2,
        "effect": 9.22,
        "effect_spread": 4.16,
        "share": 0.13,
        "share_low": 0.043,
        "share_high": 0.22,
        "pairs": pairs,
        "curves": {
            "x": lambdas,
            "x_label": "λ, from network A to the matched B",
            "unit": "test accuracy in percent",
            "lines": lines,
        },
        "paper": PAPER,
        "fixtures": [
            {
                "name": "plain-vgg",
                "key": "0123456789abcdef" * 4,
                "seeds": list(range(100, 116)),
                "failed": [],
                "digest": "fedcba9876543210" * 4,
            }
        ],
        "first_seed": 100,
        "device": "cpu",
        "machine": {"cpu": "Some CPU @ 2.1 GHz", "architecture": "x86_64"},
        "versions": {"python": "3.11.7", "torch": "2.12.1"},
        "commit": "0f" * 20,
        "seconds": 1.23,
        "nodeid": "claims/test_renormalization.py::test_rescale[plain-vgg-weights]",
        "accepted": "",
        "red": "",
        "error": "",
        "measured_at": WHEN,
        "long": False,
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
            if rule == "frequency":
                changes |= {
                    "estimate": 0.91,
                    "low": 0.74,
                    "high": None,
                    "unit": "",
                    "margin": 0.8,
                    **NO_PAPER,
                }
            results.append(made(**changes | STATES.get(k + 10 * c, {})))
    return results


def report(
    results: Sequence[Result], expected: Path = accepted.FOLDER
) -> dict[str, str]:
    """Make the report's files of results, with the made-up paper."""
    return page.pages(results, expected, CATALOGUE)


def evidence(results: Sequence[Result], expected: Path = accepted.FOLDER) -> str:
    """Make the pages of all claims among results, one after another."""
    made = report(results, expected)
    return "".join(text for path, text in made.items() if path.startswith("claims/"))


def at_scales(results: Sequence[Result], scales: Sequence[str]) -> list[Result]:
    """Make results of several scales out of one's: most places, some with news."""
    found = list(results)
    for k, scale in enumerate(scales, 1):
        for place, result in enumerate(results):
            if (place * 7 + k) % 5 < 3:
                news = {"verdict": "supported", "leaning": "", "needed": None}
                changes = news if (place + k) % 3 == 0 else {}
                found.append(dataclasses.replace(result, scale=scale, **changes))
    return found


NO_PAPER = {
    "paper": [],
    **dict.fromkeys(
        ("effect", "effect_spread", "share", "share_low", "share_high"), None
    ),
}
FIRST = {
    **NO_PAPER,
    **dict.fromkeys(
        ("low", "high", "p", "p_against", "p_flip", "detectable", "needed")
    ),
    "verdict": "inconclusive",
    "decision": "premise not met: 2 of the 16 networks that decide are there (mean > "
    "0.5 points, one-sided t-test, alpha 0.005; 1 unit, at least 5 are needed)",
    "spread": 0.0,
    "n": 1,
    "pairs": [{"pair": "100-101", "decided": 1.2}],
    "curves": None,
}
"""The first pair of networks that come in lots."""
NOTHING = dict.fromkeys(
    ("estimate", "low", "high", "spread", "p", "p_against", "p_flip", "n", "detectable")
)
STATES: dict[int, dict[str, Any]] = {
    3: {"verdict": "inconclusive", "leaning": "for", "p": 0.021, "needed": 14},
    14: {"verdict": "refuted", "accepted": "refuted", "p": 0.999},
    21: {"verdict": "refuted", "accepted": "inconclusive", "p": 0.999},
    37: {
        **NOTHING,
        **NO_PAPER,
        "verdict": "error",
        "pairs": [],
        "curves": None,
        "red": "it ended in an error",
        "error": "Diverged: recipe bn-vgg, seed 7, step 312: the loss is not finite.\n"
        "Lower the learning rate, or clip the gradient's norm.",
    },
    42: {
        "accepted": "refuted",
        "red": "supported, and refuted is on record: +1.2 against -6.1, z = 5.4",
    },
    55: {
        **NO_PAPER,
        "kind": "invariant",
        "rule": "exact",
        "estimate": 2.3e-15,
        "low": None,
        "high": None,
        "spread": None,
        "p": None,
        "p_against": None,
        "p_flip": None,
        "margin": 1e-12,
        "alpha": 0.0,
        "curves": None,
        "unit": "",
    },
}
