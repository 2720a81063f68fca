"""What the documents say is done, to the letter."""

import importlib.util
import re
import warnings

import pytest
import torch

import lmc
from claims import claim as claims_claim
from claims.evidence import superiority
from claims.measure import METHODS
from claims.papers import paper
from docs.tests.documents import (
    ROOT,
    Block,
    Reader,
    blocks,
    copy_of_the_checkout,
    tracked,
)
from lmc import command
from lmc.models import MLP

EXECUTED = ("match.md", "merge.md", "nightly.md", "own-claim.md", "own-method.md")
EXECUTED += ("own-scale.md", "own-setting.md", "report.md", "transformer.md")


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
    assert found == {*EXECUTED}


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


def readme(language: str) -> list[Block]:
    """Return the README's blocks of a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [block for block in blocks(text) if block.language == language]


def test_the_readmes_claim_is_one(monkeypatch):
    monkeypatch.setattr(claims_claim, "_declared", {})
    names = {"claim": claims_claim.claim, "paper": paper, "superiority": superiority}
    names |= {"METHODS": METHODS, "__name__": "claims.test_readme"}
    [block] = [b for b in readme("python") if b.text.startswith("@claim")]
    exec(block.text, names)
    [found] = claims_claim._declared.values()
    assert found.id == "readme/rescale-beats-repair" and found.variants == METHODS


def test_the_readmes_code_merges_two_networks():
    """On small networks of our own: what is loaded, and what is left of b, fits."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 4, generator=generator)
    batches = [(images, (images[:, 0] > 0).long())]
    model, other = MLP((4, 8, 2)), MLP((4, 8, 2))
    ends = {"a": model.state_dict(), "b": other.state_dict()}
    ends = {n: {k: v.clone() for k, v in s.items()} for n, s in ends.items()}
    names = {**ends, "model": model, "images": images}
    names |= {"test_batches": batches, "train_batches": batches}
    merging, alone = (b for b in readme("python") if "lmc." in b.text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lmc.MergeWarning)  # untrained, they guess
        exec(merging.text, names)
    loaded = names["model"].state_dict()
    assert all(torch.equal(loaded[n], names["merge"].state[n]) for n in loaded)
    exec(alone.text, names)
    assert lmc.l2_distance(names["a"], names["b"]) <= lmc.l2_distance(**ends)


def test_the_readmes_commands_are_there():
    """Each names a module or a script that this checkout, or its environment, has."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    modules = {*re.findall(r"python -m ([\w.]+)", text)}
    assert {"claims", "fixtures", "reports"} <= modules
    for module in modules:
        assert importlib.util.find_spec(module), module
    told = {*re.findall(r"^lmc (\w+)", text, re.M)}
    assert told == {"symmetry", "match", "merge", "barrier"}
    for name in told:
        with pytest.raises(SystemExit) as ended:
            command.main([name, "--help"])
        assert ended.value.code == 0
    targets = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.M)
    for target in re.findall(r"^make (\w+)", text, re.M):
        assert target in targets


def test_the_readmes_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`(docs/[\w.-]+)`", text):
        assert (ROOT / target).exists(), target
