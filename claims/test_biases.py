"""What biases do to the barrier (arXiv 2402.05966, sections 3.4, E.4)."""

from functools import partial

from claims.bench import METHODS
from claims.claim import Claim, PaperValue
from claims.decisions import superiority

PAPER = (
    PaperValue("VGG16, barrier 79.19 to 8.54", 70.65, None, "", "weights"),
    PaperValue("VGG16, barrier 46.49 to 8.71", 37.78, None, "", "activations"),
)

REMOVING_BIASES = Claim(
    id="biases/removing-biases",
    sentence="Removing the biases of trained networks and fine-tuning lowers the "
    "accuracy barrier after matching, with the permutation found before.",
    source="arXiv:2402.05966v1, section 3.4, Fig. 3C, and appendix E.4",
    quantity="barrier with biases minus barrier without, test accuracy at the midpoint",
    rule=partial(superiority, margin=0.0),
    settings=("debiased-vgg",),
    variants=METHODS,
    paper=PAPER,
)


@REMOVING_BIASES.test
def test_removing_biases(trial):
    parents, children = trial.pairs("plain-vgg"), trial.pairs()
    before = [pair.barrier(trial.variant) for pair in parents]
    after = [
        child.barrier(trial.variant, found_on=parent)
        for parent, child in zip(parents, children, strict=True)
    ]
    fall = [b - a for b, a in zip(before, after, strict=True)]
    trial.decide(fall, with_biases=before, without=after)


TRAINED_WITHOUT_BIASES = Claim(
    id="biases/trained-without-biases",
    sentence="Networks trained without biases have a lower accuracy barrier after "
    "matching than networks trained with them.",
    source="arXiv:2402.05966v1, section 3.4, Fig. 3D",
    quantity="barrier with biases minus barrier without, test accuracy at the midpoint",
    rule=partial(superiority, margin=0.0),
    settings=("nobias-vgg",),
    variants=METHODS,
    paper=PAPER,
)


@TRAINED_WITHOUT_BIASES.test
def test_trained_without_biases(trial):
    before = [pair.barrier(trial.variant) for pair in trial.pairs("plain-vgg")]
    after = [pair.barrier(trial.variant) for pair in trial.pairs()]
    fall = [b - a for b, a in zip(before, after, strict=True)]
    trial.decide(fall, with_biases=before, without=after)
