"""What is trained first, and what can be decided by now, against cases by hand."""

from dataclasses import replace

import pytest

from claims import planning
from claims.planning import Wanted, in_order, levels, networks_there, together
from fixtures import scales, store
from fixtures.datasets import SOURCES
from fixtures.demand import DemandError
from fixtures.recipe import Recipe
from fixtures.scales import Scale


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A scale of four settings, with an empty cache: one is the other's child."""
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
    return Scale.of("tiny", made, test_images=397)


def wanted(name, counts, *settings):
    """Make a test that looks at so many networks of its settings."""
    return Wanted(name, [dict.fromkeys(settings, n) for n in counts])


def names(jobs):
    return " ".join(f"{job.recipe.name}{job.seed}" for job in jobs)


def test_what_most_tests_look_at_comes_first(tiny):
    """b in three of them, a in one; the one with c waits for that."""
    tests = [
        wanted("x", [2], "a"),
        wanted("y", [2], "b"),
        wanted("z", [2], "b"),
        wanted("w", [2], "b", "c"),
    ]
    assert names(in_order(tests, tiny, 100)) == "b100 b101 a100 a101 c100 c101"


def test_what_decides_all_on_few_comes_before_more_of_one(tiny):
    tests = [wanted("x", [2, 4], "a"), wanted("y", [2, 4], "b")]
    assert names(in_order(tests, tiny, 6)) == "a6 a7 b6 b7 a8 a9 b8 b9"


def test_parents_come_before_their_children_once(tiny):
    tests = [wanted("x", [2], "child"), wanted("y", [2], "a")]
    assert names(in_order(tests, tiny, 0)) == "a0 child0 a1 child1"


def test_as_many_networks_as_all_settings_have(tiny):
    test = wanted("x", [10, 12, 14], "a", "b")
    assert test.possible({"a": 14, "b": 13}) == 1
    assert test.possible({"a": 14, "b": 14}) == 2
    assert test.possible({"a": 14, "b": 9}) is None
    assert test.lack({"a": 14, "b": 9}) == "missing networks: b has 9 of 10"


def test_only_networks_without_a_gap_count(tiny):
    recipe = tiny.recipe("a")
    store.networks(recipe, [100, 101, 103])
    tests = [wanted("x", [4], "a", "b")]
    assert networks_there(tests, tiny, 100) == {"a": 2, "b": 0}


def test_seeds_that_have_failed_are_replaced(tiny, monkeypatch):
    """And leave no gap, unless too many have."""
    recipe = tiny.recipe("a")
    store.networks(recipe, [100, 102, 103])
    honest = store.failure
    monkeypatch.setattr(
        store,
        "failure",
        lambda made, seed: "it diverged" if seed == 101 else honest(made, seed),
    )
    tests = [wanted("x", [4], "a")]
    assert networks_there(tests, tiny, 100) == {"a": 3}
    assert names(in_order(tests, tiny, 100)) == "a100 a102 a103 a104"
    monkeypatch.setattr(store, "failure", lambda made, seed: "it diverged")
    assert networks_there(tests, tiny, 100) == {"a": 0}


def test_what_is_wanted_together_is_the_most_of_each(tiny):
    tests = [wanted("x", [4, 6], "a", "b"), wanted("y", [4, 8], "b")]
    found = {w.recipe.name: (w.first_seed, w.count) for w in together(tests, tiny, 7)}
    assert found == {"a": (7, 6), "b": (7, 8)}


def test_a_selection_of_nothing_is_refused():
    with pytest.raises(
        DemandError,
        match=r"no test of a claim on trained networks is selected by '.* -k no' at "
        r"scale 'digits': see `pytest claims/ --collect-only -q --scale digits`",
    ):
        planning.select("claims/test_same_networks.py -k no", scales.get(), [10])


def test_a_selection_that_pytest_refuses_is_told():
    with pytest.raises(DemandError, match=r"pytest could not collect '.* -k \('"):
        planning.select("claims/test_same_networks.py -k (", scales.get(), [10])


def test_tuples_that_are_too_large_want_nothing(tiny, monkeypatch):
    """Ten networks make no tuple of twelve; at no level, nothing can be decided."""
    wants = {10: {"a": 0, "b": 0}, 12: {"a": 12, "b": 12}}
    found = {"x": wants, "never": {10: {"a": 0}, 12: {"a": 0}}}
    monkeypatch.setattr(planning, "collected", lambda *_: found)
    tests = large, never = planning.select("", tiny, [10, 12])
    wanted = together(tests, tiny, 100)
    assert [(want.recipe.name, want.count) for want in wanted] == [("a", 12), ("b", 12)]
    assert len(in_order(tests, tiny, 100)) == 24
    assert together([never], tiny, 100) == []
    there = {"a": 11, "b": 12}
    assert large.possible(there) is None
    assert large.lack(there) == "missing networks: a has 11 of 12"
    assert large.possible({"a": 12, "b": 12}) == 1
    assert never.possible({}) is None
    assert never.lack({}).endswith("has more networks than --seeds allows")


def test_what_claims_want_of_the_papers_scale():
    """At each level, and settings under the names that have a recipe."""
    scale = scales.get("paper")
    counts = levels(scale, None)
    tests = planning.select("", scale, counts)
    assert len(tests) > 100
    by_name = {test.test.rpartition("::")[2]: test.wants for test in tests}
    broken = by_name["test_plain_nets_stay_broken[plain-vgg-weights]"]
    assert broken == [{"plain-vgg": n} for n in (10, 12, 14, 16)]
    named = {name for test in tests for wants in test.wants for name in wants}
    assert named <= {recipe.name for recipe in scale.recipes.values()}
