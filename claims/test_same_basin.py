"""Networks that share a basin (arXiv 2402.05966, sections 3.2 and E.2)."""

from functools import partial

from claims.bench import METHODS
from claims.claim import Claim
from claims.decisions import exact

SHUFFLED_COPY_RECOVERED = Claim(
    id="same-basin/shuffled-copy-recovered",
    kind="invariant",
    sentence="A randomly permuted copy of a trained network is recovered exactly, "
    "apart from units that are constant on the data, which have no activation to "
    "match by.",
    source="arXiv:2402.05966v1, section 3.2, Fig. 2D, and appendix E.2",
    quantity="largest difference between a parameter and the recovered one",
    rule=partial(exact, tolerance=0.0),
    settings=(
        "mlp",
        "plain-vgg",
        "nobias-vgg",
        "bn-vgg",
        "ln-vgg",
        "plain-resnet",
        "bn-resnet",
    ),
    variants=METHODS,
    unit="",
)


@SHUFFLED_COPY_RECOVERED.test
def test_shuffled_copy_recovered(trial):
    found = [network.recovered(trial.variant) for network in trial.networks()]
    trial.decide(
        [deviation for deviation, _ in found],
        constant_units=[constant for _, constant in found],
    )
