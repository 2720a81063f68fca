"""A method of one's own beside the known ones: contract, seeds, figures, tables."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import lmc
from claims.__main__ import main
from claims.compare import measuring, page, seeds, tables
from claims.compare.differences import differences, holm
from claims.compare.measuring import Comparison, Matched, Measured
from claims.compare.methods import Method, built_in, load, match, renormalize
from claims.expected.ledger import entries, note_seeds, noted_seeds
from claims.measure import Bench
from fixtures import initialization, scales, store

SCALE = "digits-epochs1"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own, with ten networks where comparisons begin."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LMC_CACHE", str(folder))
        recipe = scales.get(SCALE).recipe("mlp")
        store.trained(recipe, seeds.FIRST, 10)
        yield folder


@pytest.fixture
def mlp(cache):
    """Two untrained networks of a setting."""
    setting = Bench(scales.get(SCALE), 0, 2, "cpu").setting("mlp")
    states = [initialization.initialize(setting.recipe, seed) for seed in (0, 1)]
    setting.take({seed: net.state_dict() for seed, net in enumerate(states)})
    return setting


def still(symmetry, a, b, batches, generator):
    return lmc.Permutation.identity(symmetry)


def by_weights(symmetry, a, b, batches, generator):
    """Do what the built-in method does."""
    options = {"max_sweeps": 100, "start": "identity", "dtype": torch.float64}
    found = lmc.weight_matching(symmetry, a, b, generator=generator, **options)
    return found.permutation


def returns_a_matching(symmetry, a, b, batches, generator):
    return lmc.weight_matching(symmetry, a, b, generator=generator)


def permutes_another_model(symmetry, a, b, batches, generator):
    other = lmc.discover(lmc.models.MLP((4, 3, 2)).eval(), torch.zeros(2, 4))
    return lmc.Permutation.identity(other)


def changes_a_network(symmetry, a, b, batches, generator):
    next(iter(b.values())).mul_(2)
    return lmc.Permutation.identity(symmetry)


def changes_a_batch(symmetry, a, b, batches, generator):
    batches[-1][0][:] = 0
    return lmc.Permutation.identity(symmetry)


def draws_elsewhere(symmetry, a, b, batches, generator):
    seed = int(torch.randint(2**31, ()))
    return lmc.Permutation.random(symmetry, torch.Generator().manual_seed(seed))


def draws(symmetry, a, b, batches, generator):
    return lmc.Permutation.random(symmetry, generator)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (returns_a_matching, "returns a Matching, .*: return its .permutation"),
        (permutes_another_model, "returns no permutation: .* exactly the groups"),
        (changes_a_network, "has changed a network or a batch .*: work on copies"),
        (changes_a_batch, "has changed a network or a batch"),
        (draws_elsewhere, "gives another permutation of group '1' .* generator that"),
    ],
)
def test_a_matcher_that_breaks_its_contract_is_refused(function, message, mlp):
    own = Method("mine:match", function, own=True)
    with pytest.raises(ValueError, match=f"mine:match {message}"):
        Comparison([own]).check(mlp)


def test_a_matcher_may_draw_from_its_generator(mlp):
    """By A's seed, so that a pair's permutation is the same in every run."""
    Comparison([Method("mine:match", draws, own=True)]).check(mlp)
    a, b = mlp.networks(2)
    found = match(Method("mine:match", draws, own=True), a, b).permutation
    expected = draws(mlp.symmetry, None, None, None, torch.Generator().manual_seed(0))
    assert torch.equal(found.indices["1"], expected.indices["1"])


def halved(symmetry, middle, a, b, batches, generator):
    return {name: value / 2 for name, value in middle.items()}


def broken(how):
    """Return a renormalizer that breaks its contract in a way."""

    def function(symmetry, middle, a, b, batches, generator):
        state = {name: value.clone() for name, value in middle.items()}
        name = next(iter(state))
        if how == "lacks":
            del state[name]
        elif how == "double":
            state[name] = state[name].double()
        elif how == "nan":
            state[name][0] = torch.nan
        elif how == "changes":
            b[name].zero_()
        else:
            state[name] += torch.rand(())
        return state

    return function


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("lacks", "returns no state dict with the names of the midpoint"),
        ("double", r"returns 1.weight as torch.float64 \(120, 64\): it must stay"),
        ("nan", "returns a 1.weight that is not finite"),
        ("changes", "has changed a network or a batch"),
        ("random", "gives another network when it is called again"),
    ],
)
def test_a_renormalizer_that_breaks_its_contract_is_refused(how, message, mlp):
    with pytest.raises(ValueError, match=f"mine:repair {message}"):
        Comparison([], ("mine:repair", broken(how))).check(mlp)


def test_a_renormalizer_gets_the_midpoint_of_the_matched_networks(mlp):
    a, b = (network.state for network in mlp.networks(2))
    middle = lmc.interpolate(a, b, 0.5)
    found = renormalize("mine:repair", halved, mlp.networks(1)[0], b, middle)
    for name, value in found.items():
        assert torch.equal(value, (a[name].double() + b[name]).float() / 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("match", "'match' names no function: write package.module:function"),
        ("lmc:", "'lmc:' names no function"),
        ("nowhere_at_all:match", "No module named 'nowhere_at_all': run this where"),
        ("lmc:sinkhorn", "lmc:sinkhorn: .* has no attribute 'sinkhorn'"),
        ("lmc:LAMBDAS", "lmc:LAMBDAS is no function but a tuple"),
        (
            "lmc:weight_matching",
            r"is called as weight_matching\(a, b\): missing a required",
        ),
    ],
)
def test_what_names_no_function_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        load(name, ["a", "b"])
    assert load("lmc:barrier", ["lambdas", "values"]) is lmc.barrier


def test_what_is_measured_is_what_claims_measure(cache):
    """By the built-in method through both doors, and by hand."""
    setting = Bench(scales.get(SCALE), seeds.FIRST, 2, "cpu").setting("mlp")
    [pair] = setting.pairs(1)
    methods = [built_in("weights"), Method("mine:match", by_weights, own=True)]
    comparison = Comparison(methods, ("mine:halved", halved))
    ours, theirs = comparison.measure(setting, SCALE)
    assert (ours.method, ours.own, theirs.own) == ("weights", False, True)
    assert theirs.accuracies == ours.accuracies and theirs.distance == ours.distance
    assert ours.midpoints["midpoint"] == pair.midpoint("weights").accuracy
    assert ours.midpoints["rescale"] == pair.midpoint("weights", "rescale").accuracy
    assert "reset" not in ours.midpoints  # no BatchNorm
    assert ours.barrier == pair.curve("weights").accuracy_barrier
    assert ours.distance == pair.distance("weights", statistics=False)
    b = pair.matched("weights")
    a = pair.a.state
    product = sum(float((a[name].double() * b[name].double()).sum()) for name in a)
    assert ours.objective == pytest.approx(product)
    state = {name: (a[name].double() + b[name]).float() / 4 for name in a}
    assert ours.midpoints["halved"] == setting.evaluate(state)[1]
    row = ours.row()
    assert row["rescale"] == ours.midpoints["rescale"] and "midpoints" not in row


def test_nothing_is_remembered_of_a_method_of_ones_own(cache):
    """Two permutations of one pair are two midpoints."""
    setting = Bench(scales.get(SCALE), seeds.FIRST, 2, "cpu").setting("mlp")
    [pair] = setting.pairs(1)
    generator = torch.Generator().manual_seed(0)
    shuffled = Matched(pair, lmc.Permutation.random(setting.symmetry, generator))
    alone = Matched(pair, pair.permutation("none"))
    assert alone.midpoint("").loss == pair.midpoint("none").loss
    assert shuffled.midpoint("").loss != alone.midpoint("").loss


def made(method="weights", pair="0-1", own=False, seconds=1.0, **accuracies):
    """Return a made-up measurement."""
    return Measured(
        scale="digits",
        setting="mlp",
        pair=pair,
        method=method,
        own=own,
        seconds=seconds,
        objective=2.0,
        distance=3.0,
        barrier=accuracies.pop("barrier", 10.0),
        midpoints={"midpoint": 80.0, **accuracies},
    )


BARRIERS = {
    "mine:match": [10.0, 12.0, 9.0, 11.0, 10.5, 10.0],
    "weights": [20.0, 23.0, 18.0, 20.5, 21.0, 22.0],
    "none": [11.0, 11.0, 9.5, 12.0, 9.5, 10.5],
}


@pytest.fixture
def rows():
    return [
        made(
            *(method, f"{2 * at}-{2 * at + 1}", method == "mine:match"),
            barrier=barrier,
            seconds=(at + 1) * (2.0 if method == "mine:match" else 1.0),
        )
        for at in range(6)
        for method, values in BARRIERS.items()
        for barrier in values[at : at + 1]
    ]


def test_differences_are_paired_t_tests_corrected_by_holm(rows):
    """Against scipy's; of the four differences two are of equal midpoints."""
    found = {(d.against, d.what): d for d in differences(rows, grain=0.25)}
    assert len(found) == 4
    ours = np.array(BARRIERS["mine:match"])
    by_hand = {
        other: stats.ttest_rel(ours, BARRIERS[other]) for other in ("weights", "none")
    }
    best = found["weights", "barrier"]
    assert best.p == pytest.approx(4 * by_hand["weights"].pvalue)
    assert (best.of, best.n, best.outcome) == ("mine:match", 6, "better")
    low, high = by_hand["weights"].confidence_interval(1 - 0.05 / 4)
    assert (best.low, best.high) == pytest.approx((low, high))
    assert found["none", "barrier"].p == pytest.approx(
        min(1.0, 3 * by_hand["none"].pvalue)
    )
    assert found["none", "barrier"].outcome == ""
    assert found["none", "midpoint"].mean == 0 and found["none", "midpoint"].p == 1
    # No standard error is below the grain's.
    assert found["none", "midpoint"].high > 0.25 / 6**0.5


def test_of_accuracies_more_is_better_and_of_barriers_less(rows):
    by_method = [
        replace(row, midpoints={"midpoint": row.barrier}, barrier=-row.barrier)
        for row in rows
    ]
    found = {d.what: d for d in differences(by_method, 0.1) if d.against == "weights"}
    assert found["barrier"].mean > 0 and found["midpoint"].mean < 0
    assert found["barrier"].outcome == found["midpoint"].outcome == "worse"


def test_renormalizations_are_compared_at_one_midpoint():
    """One's own less each other, after each matching."""
    rows = [
        made(pair=f"{2 * at}-{2 * at + 1}", repair=70.0 + at % 2, mine=72.0 + at % 3)
        for at in range(6)
    ]
    found = differences(rows, grain=0.25, renormalizer="mine")
    assert [(d.of, d.against, d.what) for d in found] == [
        ("mine", "midpoint", "after weights"),
        ("mine", "repair", "after weights"),
    ]
    assert [d.mean for d in found] == [-7.0, 2.5]
    assert [d.outcome for d in found] == ["worse", "better"]


def test_too_few_pairs_are_refused(rows):
    few = [row for row in rows if row.pair < "8"][:12]
    with pytest.raises(ValueError, match="mlp: fewer than 5 pairs decide nothing"):
        differences(few, 0.25)


def test_holms_corrections_rise():
    assert holm([0.01, 0.02, 0.9]) == pytest.approx([0.03, 0.04, 0.9])
    assert holm([0.02, 0.011]) == pytest.approx([0.022, 0.022])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_fresh_seeds_are_taken_and_noted(tmp_path, monkeypatch):
    """Those after all that a comparison has looked at, and each scale by itself."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    first = seeds.take("digits", 8, "compare mine:match", "abc")
    assert first.sentence == (
        "The first 8 networks that train from seeds 10000000-10000015 of scale digits: "
        "nobody had looked at these seeds before."
    )
    other = seeds.take("digits", 4, "compare other", "abc")
    assert [*other.seeds] == [*range(10_000_016, 10_000_024)]
    assert seeds.take("mnist", 4, "compare other", "abc").seeds[0] == 10_000_000
    [entry, _] = entries(tmp_path / "looked.toml", "digits")
    assert entry["why"] == "compare mine:match" and not entry["exploratory"]
    again = seeds.take("digits", 8, "compare mine:match", "abc", first=10_000_002)
    assert again.seeds[0] == 10_000_002 and len(again.before) == 2
    assert "some or all were looked at 2 times before, last on 20" in again.sentence
    assert "(compare other): whatever was chosen" in again.sentence
    last = seeds.take("digits", 4, "compare last", "abc")
    assert last.seeds[0] == 10_000_024


def test_the_public_ledger_counts_and_its_reserved_seeds_are_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    known = seeds.take("digits", 8, "compare mine:match", "abc", first=0)
    assert len(known.before) == 1 and "The first edition" in known.sentence
    with pytest.raises(ValueError, match="seeds 100-115 of scale cifar10 are reserved"):
        seeds.take("cifar10", 8, "compare mine:match", "abc", first=100)
    assert noted_seeds(tmp_path / "looked.toml", "cifar10") == set()


@pytest.fixture
def mine(cache, tmp_path, monkeypatch):
    """A module of one's own, and few renormalizations; the folder."""
    text = "import lmc\n\ndef no_match(symmetry, a, b, batches, generator):\n"
    text += "    return lmc.Permutation.identity(symmetry)\n\n"
    text += "def matching(symmetry, a, b, batches, generator):\n"
    text += "    return lmc.weight_matching(symmetry, a, b, generator=generator)\n\n"
    text += "def half(symmetry, middle, a, b, batches, generator):\n"
    text += "    return {name: value / 2 for name, value in middle.items()}\n"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(measuring, "REPAIRS", ("", "rescale"))
    yield tmp_path
    sys.modules.pop("mine", None)
    seeds.ledger().unlink(missing_ok=True)


COMPARE = ["compare", "--scale", SCALE, "--setting", "mlp"]


def test_from_the_command_to_the_table(mine, capsys):
    """Fresh seeds, four files of results, and the same seeds once more."""
    own = ["--matcher", "mine:no_match", "--pairs", "5"]
    own += ["--against", "none", "--against", "weights"]
    assert main([*COMPARE, *own]) == 0
    said = capsys.readouterr()
    fresh = "from seeds 10000000-10000019 of scale digits-epochs1: nobody had looked"
    assert fresh in " ".join(said.out.split()) and fresh in said.err
    folder = mine / "reports" / "out" / "compare" / "no_match"
    lines = (folder / "comparison.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 5 * 3 and {row["scale"] for row in rows} == {SCALE}
    by_method = {
        name: [row for row in rows if row["method"] == name]
        for name in ("none", "weights", "mine:no_match")
    }
    for ours, none in zip(*(by_method[m] for m in ("mine:no_match", "none")), strict=1):
        assert ours["own"] and not none["own"] and ours["pair"] == none["pair"]
        assert ours["rescale"] == none["rescale"]
    page = (folder / "index.html").read_text()
    assert fresh in page and "no_match (yours)" in page
    latex = (folder / "table.tex").read_text()
    assert "no\\_match" in latex and fresh in latex and "\\midrule" in latex
    assert noted_seeds(seeds.ledger(), SCALE) == {*range(10_000_000, 10_000_020)}
    assert main([*COMPARE, *own, "--first-seed", "10000000"]) == 0
    again = " ".join(capsys.readouterr().out.split())
    assert "were looked at once before" in again


def test_tuning_looks_at_exploratory_networks_and_leaves_nothing(mine, capsys):
    tune = ["--matcher", "mine:no_match", "--tune", "--pairs", "1"]
    assert main([*COMPARE, *tune, "--renormalizer", "mine:half"]) == 0
    said = capsys.readouterr()
    assert "no table comes of them" in said.out
    assert "mlp no_match: barrier " in said.out and ", half " in said.out
    assert "mlp 0-1 no_match" in said.err
    assert not seeds.ledger().exists() and not (mine / "reports").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to compare: give --matcher or --renormalizer"),
        (["--matcher", "mine:none"], "mine:none: .* has no attribute 'none'"),
        (["--matcher", "mine:no_match", "--pairs", "4"], "--pairs 4: choose 5 or more"),
        (
            ["--matcher", "mine:no_match", "--first-seed", "3"],
            "--first-seed 3: choose an even number from 0 on",
        ),
        (
            ["--matcher", "mine:no_match", "--tune", "--first-seed", "4"],
            "--tune has its own seeds: leave out --first-seed",
        ),
        (
            ["--matcher", "mine:no_match", "--setting", "plain-vg"],
            "unknown setting 'plain-vg' at scale 'digits-epochs1': did you mean",
        ),
        (
            ["--renormalizer", "mine:repair"],
            "a known column is called repair",
        ),
        # Before any seed is noted.
        (["--matcher", "mine:matching"], "returns a Matching, not an lmc.Permutation"),
    ],
)
def test_what_can_not_be_compared_is_refused(options, message, mine, capsys):
    assert main([*COMPARE, *options]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not seeds.ledger().exists()


def test_the_page_escapes_what_it_is_given(rows):
    shown = page.render(rows, [], "<b>fresh</b>", "</script><i>mine</i>")
    assert "<b>fresh" not in shown and "&lt;b&gt;fresh&lt;/b&gt;" in shown
    assert "<i>mine" not in shown


def test_tables_show_the_same_figures(rows):
    """Means and spreads, the ratio of seconds pair by pair, and stars."""
    found = differences(rows, 0.25)
    head, body = tables.cells(rows, "mlp")
    cells = {row[0]: dict(zip(head, row, strict=True)) for row in body}
    assert cells["weights"]["barrier"] == "20.8 ± 1.7"
    assert cells["match"]["ratio"] == "2" and cells["weights"]["ratio"] == "1"
    latex = tables.latex(rows, found, "fresh")
    assert r"20.8 $\pm$ 1.7$^*$" in latex and r"10.6 $\pm$ 1.0 &" in latex
    text = tables.text(rows, found, "fresh")
    assert "20.8 ± 1.7" in text and "4 differences" in text and "better" in text


def test_a_ledger_knows_other_entries(tmp_path):
    note_seeds(tmp_path / "l.toml", "digits", [4, 5, 8], "abc", 'a "why"')
    [entry] = entries(tmp_path / "l.toml", "digits")
    assert entry["seeds"] == "4-5, 8" and entry["why"] == 'a "why"'
    assert entries(tmp_path / "l.toml", "digits", "reserved") == []
