"""What the documents say is done, to the letter."""

import dataclasses
import importlib.util
import json
import re
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

import lmc
from docs import headlines
from docs.tests.documents import (
    ROOT,
    Reader,
    blocks,
    copy_of_the_checkout,
    tracked,
)
from lmc import command
from lmc.models import MLP
from reports.results import listed, read
from reports.tests.made_up import made

EXECUTED = ("match.md", "merge.md", "nightly.md", "own-claim.md", "own-method.md")
EXECUTED += ("own-scale.md", "own-setting.md", "report.md", "transformer.md")

IN_PLACE = {"README.md": ROOT / "README.md", "evidence.md": ROOT / "docs/evidence.md"}
"""Their commands read records, which a copy of the checkout has not."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all documents: some train the same networks."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", EXECUTED)
def test_document(name, cache, tmp_path):
    """Files written, changes applied, commands run and their output compared."""
    environment = {"LMC_CACHE": str(cache), "LMC_DATA": str(tmp_path / "data")}
    reader = Reader(copy_of_the_checkout(tmp_path / "checkout"), environment)
    reader.follow((ROOT / "docs" / name).read_text(encoding="utf-8"))


def test_without_history_by_products_are_left_out(tmp_path):
    for name in ("a.py", "b/c.md", ".venv/d.py", "reports/out/e", "f.egg-info/g"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert tracked(tmp_path) == ["a.py", "b/c.md"]
    assert {"README.md", "docs/tests/documents.py"} <= {*tracked()}


def test_every_document_with_commands_is_executed():
    """Those of cluster.md and sharing.md need machines that are not here."""
    found = {
        file.name
        for file in (ROOT / "docs").glob("*.md")
        if any(
            b.language in ("console", "diff", "python")
            for b in blocks(file.read_text(encoding="utf-8"))
        )
    }
    assert found == {*EXECUTED, *IN_PLACE} - {"README.md"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("```console\n$ echo 1\n2\n```", r"line 2, \$ echo 1\n1\n\nnot\n2"),
        ("\n```console\n$ false\n```", r"line 3, \$ false"),
        ("```python\nassert 1 == 2\n```", "^$"),
        ("```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n```", "line 2: .*x: No such"),
    ],
)
def test_what_does_not_go_as_written_is_noticed(document, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        Reader(tmp_path).follow(document)


def test_what_goes_as_written_goes(tmp_path):
    """A file, a change of it, and what it prints then."""
    Reader(tmp_path).follow(
        "```python\n# say.py\nprint(1)\n```\n"
        "```diff\n--- a/say.py\n+++ b/say.py\n@@ -1 +1 @@\n"
        "-print(1)\n+print(1, 2)\n```\n"
        "```console\n$ python say.py\n1 ...\n```\n```sh\nfalse\n```\n"
    )


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_code_merges_two_networks():
    """On small networks of our own: what is loaded, and what is left of b, fits."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 4, generator=generator)
    batches = [(images, (images[:, 0] > 0).long())]
    model, other = MLP((4, 8, 2)), MLP((4, 8, 2))
    ends = {"a": model.state_dict(), "b": other.state_dict()}
    names = {n: {k: v.clone() for k, v in s.items()} for n, s in ends.items()}
    names |= {"model": model, "test_batches": batches, "train_batches": batches}
    [merging] = [block for block in blocks(README) if block.language == "python"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lmc.MergeWarning)  # untrained, they guess
        exec(merging.text, names)
    loaded = names["model"].state_dict()
    assert all(torch.equal(loaded[n], names["merge"].state[n]) for n in loaded)


@pytest.mark.parametrize("name", IN_PLACE)
def test_commands_about_records_print_what_is_written(name):
    document = IN_PLACE[name].read_text(encoding="utf-8")
    found = [block.text for block in blocks(document) if block.language == "console"]
    assert found
    for text in found:
        Reader(ROOT).follow(f"```console\n{text}```\n")


REPLICATIONS = ("digits-200", "digits-300", "digits-400")
"""Whole runs on other networks than the record's."""

SIDES = {"supported": "for", "refuted": "against"}


@pytest.fixture(scope="module")
def runs():
    """The record and its replications, by claim and place."""
    names = ("records/digits", *(f"replications/{name}" for name in REPLICATIONS))
    files = [ROOT / "reports" / f"{name}.jsonl" for name in names]
    return [{(r.id, r.where): r for r in read(file)} for file in files]


def test_what_is_said_of_other_networks_is_what_they_gave(runs):
    """Verdicts beside verdicts, leanings, and Welch's test between two estimates."""
    text = " ".join(IN_PLACE["evidence.md"].read_text(encoding="utf-8").split())
    record, *others = runs
    places = [k for k, r in record.items() if r.kind != "invariant" and not r.long]
    order, said = ("supported", "inconclusive", "refuted"), []
    for name, run in zip(REPLICATIONS, others, strict=True):
        looked_at = (each for r in run.values() for each in r.fixtures)
        networks = {(each["key"], seed) for each in looked_at for seed in each["seeds"]}
        assert f"on other networks of digits, {len(networks):,} each" in text
        assert f"On other networks, {len(networks):,} each" in " ".join(README.split())
        both = Counter((record[k].verdict, run[k].verdict) for k in places)
        for verdict in order:
            row = [both[verdict, other] for other in order]
            cells = (f"{verdict}, {sum(row)}", name.removeprefix("digits-"), *row)
            assert f"| {' | '.join(map(str, cells))} |" in text, cells
        decided = sum(both[side, other] for side in SIDES for other in order)
        lean = [
            SIDES[record[k].verdict] == run[k].leaning
            for k in places
            if record[k].verdict in SIDES and run[k].verdict == "inconclusive"
        ]
        p = [value for k in places if (value := welch(record[k], run[k])) is not None]
        below = [100 * np.mean(np.less(p, level)) for level in (0.05, 0.01)]
        repeated = sum(both[side, side] for side in SIDES)
        said.append((repeated, f"{sum(lean)} of {len(lean)}", *below))
    repeated, leaning, *below = zip(*said, strict=True)
    assert f"Of the {decided} places that the record decides" in text
    repeated = listed([*map(str, repeated)])
    assert f"they decide {repeated} likewise" in text
    assert f"{listed(leaning)} lean to the side of the record" in text
    for level, shares in zip(("0.05 (Welch)", "0.01"), below, strict=True):
        assert f"p < {level} at {listed([f'{x:.1f}%' for x in shares])}" in text
    said = (
        f"Of {decided} verdicts decided without `--long` they repeat {repeated}, and "
    )
    assert f"{said}reverse none" in " ".join(README.split())


def test_what_is_said_of_mnist_is_what_its_record_has(runs):
    """Verdicts beside verdicts; of those that differ, both values."""
    text = " ".join(IN_PLACE["evidence.md"].read_text(encoding="utf-8").split())
    mnist = {(r.id, r.where): r for r in read(ROOT / "reports/records/mnist.jsonl")}
    seeds = {s for r in mnist.values() for each in r.fixtures for s in each["seeds"]}
    assert f"by networks of seeds {min(seeds)} to {max(seeds)}." in text
    digits, order = runs[0], ("supported", "inconclusive", "refuted")
    both = {
        key: (digits[key], found)
        for key, found in mnist.items()
        if key in digits and found.kind != "invariant"
    }
    counted = Counter((one.verdict, other.verdict) for one, other in both.values())
    for verdict in order:
        row = [counted[verdict, other] for other in order]
        assert f"| {verdict}, {sum(row)} | {' | '.join(map(str, row))} |" in text
    alike = sum(counted[side, side] for side in SIDES)
    decided = sum(counted[one, other] for one in SIDES for other in SIDES)
    said = f"Of {decided} places that are decided both on digits and [on MNIST]"
    assert said in " ".join(README.split()) and f" {alike} are decided alike" in README
    opposite = [
        pair for pair in both.values() if {one.verdict for one in pair} == {*SIDES}
    ]
    assert "The two that are decided the other way" in text and len(opposite) == 2
    for pair in opposite:
        assert f"`{pair[0].id}`" in text
        assert all(f" {one.estimate:.2g} on" in text for one in pair)


def test_no_verdict_of_a_run_is_another_ones_opposite(runs):
    for key in runs[1]:
        verdicts = {run[key].verdict for run in runs}
        assert not {"supported", "refuted"} <= verdicts, key


def welch(one, other):
    """Return the p of two estimates' difference, None where values do not vary."""
    values = [
        [unit["decided"] for unit in result.pairs if unit["decided"] is not None]
        for result in (one, other)
    ]
    if min(map(len, values)) < 5 or min(map(np.ptp, values)) == 0:
        return None
    return ttest_ind(*values, equal_var=False).pvalue


def test_what_is_said_of_a_gpu_is_what_it_measured():
    """Ways to train, and the midpoints of the first pair, in text and README."""
    records = ROOT / "reports" / "records"
    text = (ROOT / "docs" / "paper-scale.md").read_text(encoding="utf-8")
    for way in json.loads((records / "paper-training.json").read_text())["ways"]:
        name = way["backend"]
        if way["at_once"] > 1:
            name += f" in {way['at_once']} processes"
        rate, times = way["steps_per_second"], way["times_the_plain_loop"]
        assert f"| {name} | {rate:.1f} | {times:.2f} |" in text
    trained = json.loads((records / "paper-training.json").read_text())["networks"][:2]
    one, other = (network["seconds"] for network in trained)
    epoch = (one + other) / 2 / 160
    assert f"took {one:.0f} and {other:.0f} s; {epoch:.2f} s an epoch" in text
    found = {}
    for result in read(records / "paper.jsonl"):
        for name, value in result.pairs[0].items():
            if name not in ("pair", "decided"):
                found.setdefault((result.variant, name), value)
    rows = {
        "endpoints": "endpoints",
        "midpoint": "midpoint",
        "REPAIR": "repair",
        "RESCALE": "rescale",
        "RESCALE (average)": "rescale_average",
        "RESHIFT": "reshift",
        "REPAIR, layer by layer": "sequential_repair",
        "REPAIR, statistics of the bare midpoint": "uncorrected_repair",
        "RESCALE, statistics of the bare midpoint": "uncorrected_rescale",
    }
    for row, name in rows.items():
        weights, activations = (found[by, name] for by in ("weights", "activations"))
        assert re.search(rf"\| {re.escape(row)} \| {weights:g} \|", text), row
        assert re.search(rf"\| {re.escape(row)} .* \| {activations:g} \|", text), row
    words = " ".join(text.split())
    later = [found["weights", epochs] for epochs in ("20", "40", "80", "160")]
    assert (
        "{:.0f} points after 20 epochs, {:.0f} after 40, {:.0f} after 80".format(*later)
        in words
        and f"and {later[3]:.0f} at the end" in words
    )
    assert (
        "{:.1f}% by RESCALE and {:.1f}% by REPAIR after weight matching, where the "
        "paper has 84.3 and 75.1, and {:.1f}% and {:.1f}% after activation".format(
            *(
                found[by, name]
                for by in ("weights", "activations")
                for name in ("rescale", "repair")
            )
        )
    ) in " ".join(README.split())


def test_the_readmes_table_is_that_of_the_record():
    made_anew = headlines.with_table(README, read(headlines.RECORD))
    assert made_anew == README, "python -m docs.headlines writes it"


def test_another_record_gives_another_table():
    """Verdicts are counted, and what the paper has a number of is shown."""
    one = made(id="renormalization/rescale-beats-repair", setting="mlp", sentence="A|B")
    other = dataclasses.replace(
        one, setting="plain-vgg", verdict="refuted", effect=None
    )
    rows = headlines.table([other, one]).splitlines()
    assert rows[2:] == [
        r"| A\|B | 1 supported, 1 refuted | mlp weights | +1.2 [0.4, 2.0] points"
        "<br><small>RESCALE minus REPAIR, test accuracy at the midpoint</small> "
        "| 9.22 ± 4.16 |"
    ]
    assert headlines.with_table(README, [one]) != README


def test_a_readme_without_a_place_for_the_table_is_refused():
    with pytest.raises(ValueError, match="give the README the lines '<!-- headlines"):
        headlines.with_table("# A project\n", [])


def written():
    """Return README and documents, by their files."""
    files = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
    ]
    return {file: file.read_text(encoding="utf-8") for file in files}


def test_commands_are_there():
    """Each names a module, a command or a target that this checkout has."""
    text = "\n".join(written().values())
    modules = {*re.findall(r"python -m ([\w.]+)", text)}
    assert {"claims", "fixtures", "reports"} <= modules
    for module in modules:
        assert importlib.util.find_spec(module), module
    code = "\n".join(
        block.text for text in written().values() for block in blocks(text)
    )
    told = {*re.findall(r"^lmc (\w+)", code, re.M)}
    assert told == {"symmetry", "match", "merge", "barrier"}
    for name in told:
        with pytest.raises(SystemExit) as ended:
            command.main([name, "--help"])
        assert ended.value.code == 0
    targets = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.M)
    told = {*re.findall(r"^make (\w+)", code, re.M)}
    assert {"claims", "test"} <= told <= {*targets}


def dead_links(text, folder):
    """Return links of a document that lead to no file, or to no heading of it."""
    dead = []
    for target, anchor in re.findall(r"\]\(([^)#:]+)(#[\w-]+)?\)", text):
        file = folder / target
        heads = re.findall(r"^#+ (.+)$", file.read_text(), re.M) if anchor else []
        anchors = {f"#{re.sub(r'[^a-z0-9]+', '-', head.lower())}" for head in heads}
        if not file.exists() or (anchor and anchor not in anchors):
            dead.append(target + anchor)
    return dead


def test_links_lead_somewhere():
    for file, text in written().items():
        assert not dead_links(text, file.parent), file
        for target in re.findall(r"`((?:lmc/)?docs/[\w.-]+\.md)`", text):
            assert (ROOT / target).exists(), target


def test_dead_links_are_seen():
    text = "[a](README.md) [b](docs/none.md) [c](docs/merge.md#gone) [d](https://x.y)"
    text += "[e](docs/merge.md#from-the-command-line)"
    assert dead_links(text, ROOT) == ["docs/none.md", "docs/merge.md#gone"]
