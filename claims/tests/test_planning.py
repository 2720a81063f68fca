"""What is trained first, and what can be decided by now, against cases by hand."""

from dataclasses import replace

import pytest

from claims import planning
from claims.planning import Wanted, in_order
from fixtures import scales, store
from fixtures.datasets import SOURCES
from fixtures.demand import DemandError
from fixtures.recipe import Recipe


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A scale of four settings, with an empty cache: two have one parent."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMC_PACK", str(tmp_path / "pack"))
    a = Recipe(
        name="a",
        dataset="digits",
        dataset_sha256=SOURCES["digits"].sha256,
        architecture="mlp",
        options={"sizes": (64, 16, 10)},
        epochs=2,
    )
    child = replace(a, name="child", init="parent", parent=a)
    made = [a, replace(a, name="b", lr=0.2), replace(a, name="c", lr=0.3), child]
    monkeypatch.setitem(scales.SCALES, "tiny", {recipe.name: recipe for recipe in made})
    return a


def wanted(name, counts, *settings):
    """Make a test that looks at all networks of its settings."""
    return Wanted(name, {n: dict.fromkeys(settings, n) for n in counts})


def names(jobs):
    return [f"{job.recipe.name}{job.seed}" for job in jobs]


def test_what_decides_most_tests_for_each_network_comes_first(tiny):
    """b decides two tests by 4 networks; a one by 4; c, then, one by 4 more."""
    tests = [
        wanted("x", [4], "a"),
        wanted("y", [4], "b"),
        wanted("z", [4], "b"),
        wanted("w", [4], "b", "c"),
    ]
    order = "b0 b1 b2 b3 a0 a1 a2 a3 c0 c1 c2 c3"
    assert names(in_order(tests, "tiny")) == order.split()


def test_a_test_of_two_settings_needs_both(tiny):
    """1 test for 8 networks is less than 1 for 4; both together are 2 for 8."""
    tests = [wanted("x", [4], "a", "b"), wanted("y", [4], "c")]
    order = "c0 c1 c2 c3 a0 a1 a2 a3 b0 b1 b2 b3"
    assert names(in_order(tests, "tiny")) == order.split()


def test_two_pairs_of_all_come_before_three_of_one(tiny):
    tests = [wanted("x", [4, 6], "a"), wanted("y", [4, 6], "b")]
    order = "a0 a1 a2 a3 b0 b1 b2 b3 a4 a5 b4 b5"
    assert names(in_order(tests, "tiny")) == order.split()


def test_parents_are_trained_once_and_cost_too(tiny):
    """Of a child that needs 8 networks and one test that needs 4, the latter first."""
    tests = [wanted("x", [4], "child"), wanted("y", [4], "b")]
    order = "b0 b1 b2 b3 a0 child0 a1 child1 a2 child2 a3 child3"
    assert names(in_order(tests, "tiny")) == order.split()
    both = names(in_order([*tests, wanted("z", [4], "a")], "tiny"))
    assert len(both) == len({*both}) == 12
    assert both.index("a0") < both.index("child0")


def test_networks_that_are_there_cost_nothing(tiny):
    """With all but one of a's there, a is nearer than b with its two tests for four."""
    store.networks(tiny, [0, 1, 2])
    tests = [wanted("y", [4], "b"), wanted("z", [4], "b"), wanted("x", [4], "a")]
    order = "a0 a1 a2 a3 b0 b1 b2 b3"
    assert names(in_order(tests, "tiny")) == order.split()


def test_as_many_networks_as_all_settings_have(tiny):
    test = wanted("x", [4, 6, 8], "a", "b")
    assert test.possible({"a": 8, "b": 7}) == 6
    assert test.possible({"a": 8, "b": 3}) == 0
    assert test.lack({"a": 8, "b": 3}) == "missing networks: b has 3 of 4"


def test_a_test_that_decides_on_few_networks_only_needs_these():
    """As where the first pairs, or tuples, of a setting are looked at."""
    few = Wanted("x", {4: {}, 6: {}, 8: {"a": 8, "b": 2}})
    assert few.possible({"a": 9, "b": 2}) == 8
    assert few.possible({"a": 7, "b": 9}) == 0
    assert few.lack({"a": 7, "b": 9}) == "missing networks: a has 7 of 8"
    never = Wanted("x", {4: {}})
    assert never.possible({}) == 0
    assert never.lack({}) == "they need more networks of each setting than --seeds"


def test_only_networks_without_a_gap_count(tiny):
    store.networks(tiny, [0, 1, 3])
    tests = [wanted("x", [4], "a", "b")]
    assert planning.networks_there(tests, "tiny", 4) == {"a": 2, "b": 0}


def test_a_selection_of_nothing_is_refused():
    with pytest.raises(
        DemandError,
        match=r"no test of a claim on trained networks is selected by '-k no_such' at "
        r"scale 'digits': see `pytest claims/ --collect-only -q --scale digits`",
    ):
        planning.select("-k no_such", "digits", 4)


def test_a_selection_that_pytest_refuses_is_told():
    with pytest.raises(DemandError, match=r"pytest could not collect '-k \('"):
        planning.select("-k (", "digits", 4)


def test_what_claims_want_of_the_papers_scale():
    """At each number of networks: of one setting, of three, of at most four pairs."""
    tests = planning.select("", "paper", 16)
    assert len(tests) > 100
    by_name = {test.name: test.wants for test in tests}
    broken = by_name["test_plain_nets_stay_broken[plain-vgg-weights]"]
    assert broken == {n: {"plain-vgg": n} for n in range(4, 17, 2)}
    width = by_name["test_width_lowers_barrier[plain-resnet-weights]"]
    names = ("plain-resnet-half", "plain-resnet", "plain-resnet-double")
    assert width == {n: dict.fromkeys(names, n) for n in range(4, 17, 2)}
    decay = by_name["test_larger_wd_lower_barrier[plain-vgg-weights]"]
    assert decay == {
        n: {f"plain-vgg-wd{multiple}": min(n, 8) for multiple in range(1, 6)}
        for n in range(4, 17, 2)
    }
    four = by_name["test_iterative_barely_helps[bn-vgg]"]
    assert [four[n] for n in (4, 6)] == [{}, {}]
    assert [four[n] for n in (8, 10, 16)] == [{"bn-vgg": n} for n in (8, 8, 16)]
