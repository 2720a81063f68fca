"""One call to merge: what it returns, what it says of it, and what it refuses."""

import math
import warnings
from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lmc
from lmc.merging import MergeWarning
from lmc.models import MLP, VGG
from lmc.permutation import Permutation
from lmc.repairing import RENORMALIZATIONS
from lmc.tests.networks import normal, precise

X = normal(40, 3)
Y = (X[:, 0] > 0).long()
BATCHES = [(X[:25], Y[:25]), (X[25:], Y[25:])]
MODEL = precise(MLP((3, 6, 2)))
SYMMETRY = lmc.discover(MODEL, X[:2])

# What these tests merge is of no use, which they know.
pytestmark = pytest.mark.filterwarnings("ignore::lmc.merging.MergeWarning")


def network(seed):
    """Another network of the architecture."""
    state = precise(MLP((3, 6, 2)), 20 * seed).state_dict()
    return {name: value.clone() for name, value in state.items()}


def generator(seed=0):
    """A source of random numbers."""
    return torch.Generator().manual_seed(seed)


def logits(state):
    """What an MLP computes, by hand."""
    hidden = torch.relu(X @ state["1.weight"].T + state["1.bias"])
    return hidden @ state["3.weight"].T + state["3.bias"]


def score(outputs):
    """Cross-entropy and accuracy by hand."""
    chosen = outputs.log_softmax(1)[torch.arange(len(Y)), Y]
    right = sum(int(a == b) for a, b in zip(outputs.argmax(1), Y, strict=True))
    return -float(chosen.mean()), 100 * right / len(Y)


def test_steps_are_those_of_the_library():
    """Matched, averaged, rescaled: as the functions of each step do it."""
    a, b = network(1), network(2)
    found = lmc.merge(MODEL, [a, b], BATCHES, match="activations")
    [first, second] = found.permutations
    assert all(torch.equal(first.apply(a)[name], value) for name, value in a.items())
    matching = lmc.activation_matching(SYMMETRY, a, b, BATCHES)
    assert torch.equal(second.indices["1"], matching.permutation.indices["1"])
    graph, ends = SYMMETRY.graph, [a, second.apply(b)]
    goal = lmc.averaged_statistics([lmc.statistics(graph, e, BATCHES) for e in ends])
    middle = lmc.interpolate(*ends, 0.5)
    wanted = lmc.renormalize("rescale", graph, middle, goal, BATCHES).fuse(middle)
    assert found.renormalization == "rescale" and found.match == "activations"
    for name, value in wanted.items():
        torch.testing.assert_close(found.state[name], value)


def test_scores_by_hand():
    """Endpoints, plain average, matched average, ensemble: loss and accuracy."""
    a, b = network(1), network(2)
    report = lmc.merge(MODEL, [a, b], BATCHES, renormalize="none").report
    matching = lmc.weight_matching(SYMMETRY, a, b, generator=generator())
    moved = matching.permutation.apply(b)
    average = {name: (a[name] + b[name]) / 2 for name in a}
    matched = {name: (a[name] + moved[name]) / 2 for name in a}
    mean = (logits(a).softmax(1) + logits(b).softmax(1)) / 2
    for found, outputs in (
        (report.endpoints[0], logits(a)),
        (report.endpoints[1], logits(b)),
        (report.average, logits(average)),
        (report.matched, logits(matched)),
        (report.merged, logits(matched)),
        (report.ensemble, mean.log()),
    ):
        assert (found.loss, found.accuracy) == pytest.approx(score(outputs), rel=1e-12)
    assert report.chance == 50 and report.samples == 40
    names = [row["network"] for row in report.rows()]
    assert names == [
        *("network 1", "network 2", "average without matching", "matched average"),
        *("merged", "ensemble"),
    ]


def test_scores_are_of_the_test_data_where_there_is_some():
    """Batches are for matching and statistics then."""
    states, test = [network(1), network(2)], [(X[:7], Y[:7])]
    report = lmc.merge(MODEL, states, BATCHES, test=test).report
    alone = lmc.evaluate(MODEL, states[0], test)
    assert report.endpoints[0].loss == pytest.approx(alone.loss, rel=1e-12)
    assert report.samples == 7


def test_alignment_is_the_mean_cosine_over_pairs():
    """Of three networks three pairs, before and after matching."""
    states = [network(seed) for seed in range(3)]
    found = lmc.merge(MODEL, states, BATCHES)
    permuted = [p.apply(s) for p, s in zip(found.permutations, states, strict=True)]

    def cosine(networks, name):
        angles = [
            float((a[name] * b[name]).sum() / (a[name].norm() * b[name].norm()))
            for a, b in combinations(networks, 2)
        ]
        return sum(angles) / 3

    assert [a.layer for a in found.report.alignment] == ["1", "3"]
    mean = sum(cosine(states, f"{layer}.weight") for layer in "13") / 2
    assert found.report.cosine_before == pytest.approx(mean, rel=1e-9)
    mean = sum(cosine(permuted, f"{layer}.weight") for layer in "13") / 2
    assert found.report.cosine == pytest.approx(mean, rel=1e-9)
    for own in found.report.alignment:
        name = f"{own.layer}.weight"
        assert own.before == pytest.approx(cosine(states, name), rel=1e-9)
        assert own.after == pytest.approx(cosine(permuted, name), rel=1e-9)


@pytest.mark.parametrize(
    "many", ["iterative", "reference", "sequential", "cycle-consistent"]
)
def test_many_copies_become_the_network(many):
    """Shuffled copies merge to what they are copies of, whatever the way."""
    own = network(1)
    copies = [
        Permutation.random(SYMMETRY, generator(seed)).apply(own) for seed in range(4)
    ]
    found = lmc.merge(MODEL, copies, many=many, symmetry=SYMMETRY)
    torch.testing.assert_close(logits(found.state), logits(own))
    assert found.renormalization == "none"  # there is no data


def test_a_function_matches():
    """It gets all that a matcher gets; its name is reported."""
    seen = []

    def reverse(symmetry, a, b, batches, generator):
        seen.append((symmetry, a, b, batches, generator))
        return Permutation(symmetry, {"1": torch.arange(5, -1, -1)})

    states, source = [network(1), network(2)], generator(5)
    found = lmc.merge(
        MODEL, states, BATCHES, match=reverse, generator=source, symmetry=SYMMETRY
    )
    [(symmetry, a, b, batches, given)] = seen
    assert symmetry is SYMMETRY and given is source and batches is BATCHES
    assert a is states[0] and b is states[1]
    assert found.match == "reverse"
    assert found.permutations[1].indices["1"].tolist() == [5, 4, 3, 2, 1, 0]


def test_matcher_by_weights_takes_the_better_descent():
    """Of the one from the identity and the one from a forward pass."""
    deep = precise(MLP((3, 6, 6, 6, 2)))
    symmetry, best = lmc.discover(deep, X[:2]), set()
    names = [name for name in deep.state_dict() if name != "7.bias"]
    for seed in range(6):
        a, b = (precise(MLP((3, 6, 6, 6, 2)), 20 * n) for n in (seed, seed + 20))
        a, b, source = a.state_dict(), b.state_dict(), generator(3)
        found = lmc.matching.MATCHERS["weights"](symmetry, a, b, (), generator(3))
        moved = found.apply(b)
        objective = {
            start: lmc.weight_matching(
                symmetry, a, b, generator=source, start=start
            ).objective
            for start in ("identity", "forward")
        }
        own = sum(float((a[name] * moved[name]).sum()) for name in names)
        assert own == pytest.approx(max(objective.values()), rel=1e-9)
        best.add(max(objective, key=objective.get))
    assert best == {"identity", "forward"}


NORMED = precise(VGG((4, "M", 6), norm="bn", in_channels=1, classes=2))
LAYERED = precise(VGG((4, "M", 6), norm="ln", in_channels=1, classes=2))
IMAGES = [(normal(12, 1, 8, 8), torch.arange(12) % 2)]


class Tied(nn.Module):
    """Two layers that share a weight, which can't be scaled for one of them."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(3, 3), nn.Linear(3, 3)
        self.again.weight = self.first.weight
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return self.last(torch.relu(self.again(torch.relu(self.first(x)))))


@pytest.mark.parametrize(
    "model, batches, expected",
    [
        (NORMED, IMAGES, "reset"),
        (LAYERED, IMAGES, "repair"),
        (MODEL, BATCHES, "rescale"),
        (precise(Tied()), BATCHES, "none"),
    ],
)
def test_automatic_renormalization(model, batches, expected):
    """By what the model has."""
    state = model.state_dict()
    found = lmc.merge(model, [state, state], batches, match="none")
    assert found.renormalization == expected


def test_layer_norm_without_biases_is_rescaled():
    """A shift would have no place."""
    convolution = nn.Conv2d(1, 4, 3, bias=False)
    model = nn.Sequential(convolution, nn.LayerNorm(6), nn.ReLU(), nn.Flatten())
    model = precise(nn.Sequential(model, nn.Linear(144, 2)))
    state = model.state_dict()
    found = lmc.merge(model, [state, state], IMAGES, match="none")
    assert found.renormalization == "rescale"


def told(*arguments, **options):
    """A merge with what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = lmc.merge(*arguments, **options)
    said = tuple(str(w.message) for w in caught if w.category is MergeWarning)
    assert said == found.warnings
    return found, said


def test_a_merge_worse_than_the_better_endpoint_warns():
    """With both accuracies; the same network merged with itself doesn't."""
    good = {
        "1.weight": torch.zeros(6, 3).double(),
        "1.bias": torch.zeros(6).double(),
        "3.weight": torch.zeros(2, 6).double(),
        "3.bias": torch.zeros(2).double(),
    }
    good["1.weight"][0, 0] = good["3.weight"][1, 0] = 1.0  # the first input if positive
    good["3.bias"][0] = 1e-3
    bad = {**good, "3.weight": -3 * good["3.weight"]}
    found, said = told(MODEL, [good, bad], BATCHES, match="none", renormalize="none")
    assert found.report.best == found.report.endpoints[0]
    ends, merged = found.report.endpoints, found.report.merged
    assert any(
        f"worse than the better endpoint: accuracy {merged.accuracy:.2f}%, "
        f"{ends[0].accuracy - merged.accuracy:.2f} points below" in text
        for text in said
    )
    _, said = told(MODEL, [good, good], BATCHES, match="none", renormalize="none")
    assert said == ()


def test_an_endpoint_that_guesses_warns():
    """As one whose labels are numbered otherwise."""
    good, other = network(1), network(2)
    right = [(X, logits(good).argmax(1))]
    _, said = told(MODEL, [good, good], right, renormalize="none")
    assert said == ()
    wrong = [(X, 1 - logits(good).argmax(1))]
    found, said = told(MODEL, [good, other], wrong, renormalize="none")
    assert found.report.endpoints[0].accuracy == 0
    assert (
        "network 1 is no better than guessing: accuracy 0.00%, chance 50.00%"
        in (said[0])
    )
    assert "labels are numbered as the logits are" in said[0]


def test_batch_norm_without_reset_warns():
    """Averaged running statistics don't fit averaged weights."""
    state = NORMED.state_dict()
    _, said = told(NORMED, [state, state], IMAGES, renormalize="rescale")
    assert any("renormalize='reset'" in text for text in said)
    _, said = told(NORMED, [state, state], IMAGES)
    assert not any("reset" in text for text in said)


def test_metric_of_a_model_that_is_no_classifier():
    """Less is better; the ensemble is the mean output."""
    states, target = [network(1), network(2)], normal(40, 2, seed=7)
    halves = [(X[:30], target[:30]), (X[30:], target[30:])]
    found = lmc.merge(MODEL, states, halves, metric=F.mse_loss, match="none")
    report, (a, b) = found.report, map(logits, states)
    for own, outputs in (
        (report.endpoints[0], a),
        (report.endpoints[1], b),
        (report.ensemble, (a + b) / 2),
    ):
        assert own.loss == pytest.approx(
            float((outputs - target).square().mean()), rel=1e-9
        )
        assert own.accuracy is None
    assert report.best.loss == min(score.loss for score in report.endpoints)
    assert report.chance is None
    if report.merged.loss > report.best.loss:
        assert (
            f"loss {report.merged.loss:.4g}, above {report.best.loss:.4g}"
            in (found.warnings[-1])
        )


class WithLogits(nn.Module):
    """Returns what transformers of Hugging Face return."""

    def __init__(self):
        super().__init__()
        self.net = MLP((3, 6, 2))

    def forward(self, x):
        return Output(self.net(x))


class Output(dict):
    """A mapping with its entries as attributes."""

    def __init__(self, logits):
        super().__init__(logits=logits)
        self.logits = logits


torch.utils._pytree.register_pytree_node(
    Output,
    lambda output: ([output.logits], None),
    lambda leaves, _: Output(*leaves),
    serialized_type_name="lmc.tests.test_merging.Output",
)


def test_outputs_with_logits():
    """Scores are those of the logits; the straight-through estimator finds its loss."""
    model = precise(WithLogits())
    states = [
        {f"net.{name}": value for name, value in network(seed).items()}
        for seed in (1, 2)
    ]
    found = lmc.merge(model, states, BATCHES, match="straight-through")
    expected = score(logits(network(1)))
    ours = found.report.endpoints[0]
    assert (ours.loss, ours.accuracy) == pytest.approx(expected, rel=1e-9)


def test_without_labels_there_are_no_scores():
    """Batches of inputs alone serve matching and statistics."""
    found = lmc.merge(MODEL, [network(1), network(2)], [[X]], match="activations")
    assert found.report.endpoints == () and found.report.merged is None
    assert found.report.rows() == [] and found.renormalization == "rescale"
    assert found.warnings == ()


def test_repr_is_a_table():
    """Networks, layers, warnings."""
    lines = repr(lmc.merge(MODEL, [network(1), network(2)], BATCHES)).splitlines()
    assert (
        lines[0] == "Merge of 2 networks, matched by weights, renormalized by rescale"
    )
    assert lines[1].split() == ["network", "loss", "accuracy"]
    assert lines[7].startswith("ensemble")
    assert lines[9].split() == ["layer", "cosine", "before", "after"]


def test_inputs_stay_as_they_are():
    """Neither the networks nor the model change."""
    states = [network(1), network(2)]
    before = [{n: v.clone() for n, v in s.items()} for s in (*states, network(0))]
    own = MODEL.state_dict()
    before[2] = {name: value.clone() for name, value in own.items()}
    lmc.merge(MODEL, states, BATCHES)
    for state, kept in zip((*states, own), before, strict=True):
        assert all(torch.equal(state[name], value) for name, value in kept.items())


REFUSED = {
    "one": (dict(states=1), "at least two networks, not 1"),
    "matcher": (dict(match="best"), "unknown matcher 'best': choose none, weights"),
    "renormalization": (dict(renormalize="fix"), "unknown renormalization 'fix'"),
    "many": (dict(many="all"), "unknown way to match many networks 'all'"),
    "joint": (
        dict(states=3, many="cycle-consistent", match="activations"),
        "cycle-consistent matching goes by weights",
    ),
    "activations": (
        dict(batches=None, match="activations"),
        "matching by activations looks at data: give batches",
    ),
    "statistics": (
        dict(batches=None, renormalize="rescale"),
        "rescale takes statistics on data: give batches",
    ),
    "nothing": (
        dict(batches=None, symmetry=None),
        "discovered by inputs: give batches",
    ),
    "iterator": (dict(batches=iter(BATCHES)), "gone through several times"),
    "empty": (dict(batches=[], symmetry=None), "no batches"),
    "outputs": (dict(batches=[(X[:, None], Y)], symmetry=None), "must return logits"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind):
    """Each says what is wrong and what to do."""
    options, message = REFUSED[kind]
    options = {"batches": BATCHES, "states": 2, "symmetry": SYMMETRY, **options}
    states = [network(seed) for seed in range(options.pop("states"))]
    with pytest.raises(ValueError, match=message):
        lmc.merge(Unflat() if kind == "outputs" else MODEL, states, **options)


class Unflat(nn.Sequential):
    """The MLP's parameters for inputs with an axis more: no logits."""

    def __init__(self):
        super().__init__(nn.Identity(), nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
        self.double().eval()


def test_all_renormalizations_run():
    """Every name but reset, which needs BatchNorm, and says so."""
    states = [network(1), network(2)]
    for name in RENORMALIZATIONS:
        if name == "reset":
            with pytest.raises(ValueError, match="no BatchNorm"):
                lmc.merge(MODEL, states, BATCHES, renormalize=name, symmetry=SYMMETRY)
            continue
        found = lmc.merge(MODEL, states, BATCHES, renormalize=name, symmetry=SYMMETRY)
        assert all(math.isfinite(float(v.sum())) for v in found.state.values())


def test_batches_without_samples_are_nothing():
    """Also the first one, of which the example would be taken."""
    model, states = MLP((3, 5, 2)).eval(), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        states.append(MLP((3, 5, 2)).state_dict())
    x, y = torch.randn(8, 3), torch.randint(2, (8,))
    given = [(x[:0], y[:0]), (x, y), (x[:0], y[:0])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lmc.MergeWarning)
        full, sparse = (
            lmc.merge(model, states, batches, metric=torch.nn.functional.cross_entropy)
            for batches in ([(x, y)], given)
        )
    assert sparse.report.merged.loss == full.report.merged.loss
    assert math.isfinite(full.report.merged.loss)
