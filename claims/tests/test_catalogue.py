"""The catalogue of the papers' sentences and the claims that decide them, both ways."""

import pytest

from reports.coverage import read_catalogue

OURS = {
    "matching/assignment-optimal",  # by brute force
    "matching/group-laws",
    "minimal/later-spawn-restores",  # spawned later
    "renormalization/uncorrected-rescale-beats-repair",  # why the order is another one
}
"""Claims of our own, that decide no sentence of the three papers."""


@pytest.fixture(scope="module")
def decided() -> dict[str, list[str]]:
    """Each entry's claims, by the entry's id."""
    return {entry.id: list(entry.tests) for entry in read_catalogue()}


def test_every_test_is_a_declared_claim(declared, decided):
    """No entry is decided by a claim that is not there."""
    unknown = {
        entry: undeclared
        for entry, claims in decided.items()
        if (undeclared := [claim for claim in claims if claim not in declared])
    }
    assert not unknown


def test_every_claim_decides_an_entry_or_is_ours(declared, decided):
    """A new claim is entered in the catalogue, or in the list of our own."""
    in_catalogue = {claim for claims in decided.values() for claim in claims}
    nowhere = sorted(declared.keys() - in_catalogue - OURS)
    assert not nowhere
    assert not in_catalogue & OURS
    assert not OURS - declared.keys()


def test_ids_are_unique_and_have_a_topic():
    """An id is found once, as `topic/name`."""
    ids = [entry.id for entry in read_catalogue()]
    assert len(ids) == len(set(ids))
    assert all(len(name.split("/")) == 2 and all(name.split("/")) for name in ids)


def test_every_entry_has_a_test():
    """What the three papers say is decided, all of it."""
    entries = read_catalogue()
    assert {entry.paper for entry in entries} == {
        "2402.05966",
        "2402.04051",
        "2312.09832",
    }
    untested = [entry.id for entry in entries if not entry.tests]
    assert not untested, "\n".join(untested)


def test_invariants_are_decided_by_invariants(declared):
    """What must hold exactly is not left to claims with a margin."""
    for entry in read_catalogue():
        kinds = {declared[claim].kind for claim in entry.tests if claim in declared}
        if kinds and entry.kind in ("I", "E"):
            assert {"I": "invariant", "E": "empirical"}[entry.kind] in kinds, entry.id
