"""``python -m claims join``: lots of networks, measured one by one, become one record.

At the papers' own scale networks come a few at a time, and a claim is decided once, by
as many as it declares.  Each place is decided here by the values of all lots' units, as
its test would decide them; where a lot's premise was not met, that of all is not.
Nothing is measured again.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from claims.calibrate import read_runs
from claims.claim import Place, places_of
from claims.measure import Bench
from claims.trial import Trial
from fixtures import scales
from reports import results
from reports.results import Result


def join(paths: Sequence[Path], out: Path) -> int:
    """Join the results of lots at one scale and write them; return exit status 0.

    Places that not all lots have are left out, and named.

    Raises
    ------
    ValueError
        The lots can't be joined, or the file is there already.
    """
    if out.exists():
        raise ValueError(f"{out} exists: name a new file with --out")
    scale, lots = read_runs(paths)
    found, left_out = [], []
    for place in places_of(scales.get(scale)):
        key = (place.claim.id, place.name)
        given = [lot[key] for lot in lots if key in lot and lot[key].pairs]
        if len(given) == len(lots):
            found.append(joined(place, given))
        elif given:
            left_out.append(" ".join(key))
    if not found:
        raise ValueError("the lots have no place in common: give those of one setting")
    results.write(out, found)
    if left_out:
        print(f"left out, as not all lots have them: {', '.join(left_out)}")
    verdicts = [result.verdict for result in found]
    counted = [f"{verdicts.count(each)} {each}" for each in sorted({*verdicts})]
    print(f"written: {out}, {len(found)} places, {', '.join(counted)}")
    return 0


def joined(place: Place, lots: Sequence[Result]) -> Result:
    """Decide a place by the units of several lots of networks.

    Parameters
    ----------
    place
        With the rule and its margin.
    lots
        What was measured on each lot; no network is in two of them.

    Returns
    -------
    Result
        Its networks, machines, versions and commits are those of all lots.

    Raises
    ------
    ValueError
        Something else was asked of a lot, its units have other columns, its networks
        are of another recipe, or there are more networks than decide; it says which.
    """
    name = f"{place.claim.id} {place.name}".strip()
    networks = _networks(name, [lot.fixtures for lot in lots])
    # Of random networks none is named.
    count = max((len(each["seeds"]) for each in networks), default=place.count())
    if count > place.count():
        raise ValueError(
            f"{name} is decided once, by {place.count()} networks, and the lots have "
            f"{count}: leave the last lot out"
        )
    if any([*lot.pairs[0]] != [*lots[-1].pairs[0]] for lot in lots):
        raise ValueError(
            f"{name}: the lots' units have different columns, "
            f"{' and '.join(', '.join(lot.pairs[0]) for lot in lots)}: measure the "
            "older ones again"
        )
    units = [*chain.from_iterable(lot.pairs for lot in lots)]
    columns = {head: [unit[head] for unit in units] for head in units[0]}
    names, values, curves = columns.pop("pair"), columns.pop("decided"), _curves(lots)
    if place.claim.rule.name == "trend":  # whose levels are columns, too
        values = [*zip(*(columns[level] for level in curves["names"]), strict=True)]
    seeds = min(lot.first_seed or 0 for lot in lots)
    trial = Trial(place, Bench(place.scale, seeds, count, "cpu"), count)
    trial.decide(
        np.array(values, dtype=float),
        columns,
        names=names,
        curves=curves or None,
        unmet=next(filter(None, map(_unmet, lots)), ""),
    )
    for lot in lots:
        if _asked(vars(lot)) != _asked(trial.record):
            raise ValueError(
                f"{name}: networks from {lot.first_seed} were asked for another "
                f"quantity or by another rule, {' of '.join(_asked(vars(lot)))}; now "
                f"{' of '.join(_asked(trial.record))}: measure them again"
            )
    commits = [lot.commit for lot in lots]
    decided = trial.record.keys() & vars(lots[-1]).keys()
    fields = {
        **{field: trial.record[field] for field in decided},
        "fixtures": networks,
        "first_seed": seeds,
        "machine": _all_of([lot.machine for lot in lots]),
        "versions": _all_of([lot.versions for lot in lots]),
        "commit": _listed(commits) if all(commits) else "",  # "": it was changed
        "measured_at": max(lots, key=lambda lot: lot.when).measured_at,
        "seconds": sum(lot.seconds or 0.0 for lot in lots),
    }
    return replace(lots[-1], **fields, accepted="", red="", error="")


def _asked(record: Mapping[str, Any]) -> tuple[str, str]:
    quantity = f"{record['quantity']} in {record['unit']}"
    return results.rule_of(record["decision"]), quantity


def _unmet(lot: Result) -> str:
    """Say why a lot is not what the claim is about, but for its number of networks."""
    return "" if lot.unmet.endswith(results.LACKING) else lot.unmet


def _curves(lots: Sequence[Result]) -> dict[str, Any]:
    """Put the lines of all units behind each other."""
    [first, *others] = [lot.curves or {} for lot in lots]
    lines = {
        name: [*of_units, *chain.from_iterable(o["lines"][name] for o in others)]
        for name, of_units in first.get("lines", {}).items()
    }
    return {**first, "lines": lines} if lines else first


def _networks(name: str, lots: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Put the networks of each recipe together."""
    found: dict[str, dict[str, Any]] = {}
    for new in chain.from_iterable(lots):
        old = found.setdefault(new["name"], new)
        if old is new:
            continue
        if old["key"] != new["key"]:
            raise ValueError(
                f"{name}: networks of {new['name']} are of two recipes, "
                f"{old['key'][:16]} and {new['key'][:16]}: train the older ones anew"
            )
        both = f"{old['digest']}{new['digest']}"
        found[new["name"]] = {
            **_all_of([old, new]),
            "seeds": [*old["seeds"], *new["seeds"]],
            "failed": [*old["failed"], *new["failed"]],
            "digest": hashlib.sha256(both.encode()).hexdigest(),
        }
    return [*found.values()]


def _all_of(given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put together what is known of several lots: means, and each different word."""
    found = dict[str, Any]()
    for name in dict.fromkeys(chain.from_iterable(given)):
        values = [each[name] for each in given if name in each]
        if all(isinstance(value, Mapping) for value in values):
            found[name] = _all_of(values)
        elif all(isinstance(value, float) for value in values):
            found[name] = sum(values) / len(values)
        else:
            same = all(value == values[0] for value in values)
            found[name] = values[0] if same else _listed(map(str, values))
    return found


def _listed(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(values))
