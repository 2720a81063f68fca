"""The papers' numbers and findings: true to their texts, and computed rightly."""

import math
import re
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from claims import papers
from claims.papers import Number, Source, paper, raised, smallest_effect
from fixtures.scales import SCALES
from reports.catalogue import read_papers

SHARED = Path(__file__).parents[3] / "shared"
TEXTS = {
    "2402.05966v1": "2402.05966v1-rethink-model-re-basin.txt",
    "2402.04051": "2402.04051-summary.txt",
    "2312.09832": "2312.09832-summary.txt",
}
"""What was read of each paper that is quoted."""

NUMBER = r"\d+(?:\.\d+)?"


def entries() -> dict[str, dict]:
    """Return the findings of all papers by id."""
    return {e.id: asdict(e) for paper in read_papers() for e in paper.entries}


def text_of(name: str) -> str:
    """Return a text of ../shared, or skip where that folder is not there."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs {path}, which is not part of the repository")
    return path.read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Return a text on one line, without hyphenation, with straight quotes."""
    text = re.sub(r"-\n\s*", "", text)
    text = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})
    return re.sub(r"\s+", " ", text)


def numbers_in(text: str) -> set[float]:
    """Return the numbers of a text, and the middles of its ranges, as ``87-89``."""
    text = text.replace("+-", " ").replace("\N{MULTIPLICATION SIGN}", "x")
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)  # thousands
    found = re.findall(rf"(?<![\w.])-?{NUMBER}(?!\w|\.\d)", text)
    ranges = re.findall(rf"({NUMBER})%? ?- ?({NUMBER})", text)
    return {*map(float, found)} | {(float(a) + float(b)) / 2 for a, b in ranges}


def numbers_of(table: dict) -> set[float]:
    """Return all numbers of a table's rows, spreads too."""
    values = [
        value
        for row in table["rows"]
        for key, value in row.items()
        if key not in papers.PLACE
    ]
    return {float(n) for v in values for n in (v if isinstance(v, list) else [v])}


def tables(id: str) -> dict:
    """Return a paper's tables as they stand in its file."""
    text = (papers.FOLDER / f"{id}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text).get("tables", {})


@pytest.mark.parametrize("id", TEXTS)
def test_quotes_stand_in_the_text(id):
    """Verbatim but for line breaks, hyphenation and curly quotes, and short."""
    text = plain(text_of(f"papers/{TEXTS[id]}"))
    quotes = {k: e["quote"] for k, e in entries().items() if e["paper"] == id}
    absent = {k: quote for k, quote in quotes.items() if plain(quote) not in text}
    assert any(quotes.values()) and not absent
    assert not [key for key, quote in quotes.items() if len(quote) > 200]


def test_what_was_not_read_is_not_quoted():
    """Of the other papers no text was at hand."""
    quoted = {entry["paper"] for entry in entries().values() if entry["quote"]}
    assert quoted == {*TEXTS}


@pytest.mark.parametrize("name", [str(n) for n in range(1, 12)])
def test_tables_are_the_papers(name):
    """All numbers of the paper's Tables 1 to 11, and no others."""
    text = text_of(f"papers/{TEXTS['2402.05966v1']}")
    body = re.search(rf"^Table {name}\. .*\n\n((?:.+\n)+)", text, re.MULTILINE)
    assert numbers_of(tables("2402.05966v1")[name]) == numbers_in(body[1])


def test_numbers_of_the_running_text_stand_there():
    """Tables named by a section hold what the section says."""
    text = plain(text_of(f"papers/{TEXTS['2402.05966v1']}").replace("%", " "))
    for name, table in tables("2402.05966v1").items():
        if name.startswith("section"):
            assert numbers_of(table) <= numbers_in(text), name


def test_all_other_numbers_stand_among_what_was_read():
    """Plots, notebooks, and papers of which no text is at hand: as CLAIMS.md has it."""
    known = numbers_in(text_of("CLAIMS.md"))
    for id in papers.papers():
        for name, table in tables(id).items():
            if id != "2402.05966v1" or name == "notebooks" or name.startswith("Fig."):
                assert numbers_of(table) <= known, (id, name)


def test_rows_have_a_label_and_columns_in_snake_case():
    """So that an expression can name them."""
    for id in papers.papers():
        for table in tables(id).values():
            assert table["caption"] and table["rows"]
            for row in table["rows"]:
                assert row["label"]
                assert all(re.fullmatch("[a-z][a-z0-9_]*", key) for key in row)


def test_entries_of_one_scale_name_it_and_are_asked_there(declared):
    """Of CIFAR-100, all of them."""
    of_one = {id: entry for id, entry in entries().items() if entry["scale"]}
    assert {entry["scale"] for entry in of_one.values()} == {"cifar100"}
    assert of_one.keys() == {id for id in entries() if id.endswith("on-cifar-100")}
    for id, entry in of_one.items():
        for test in entry["tests"]:
            assert declared[test].places(SCALES[entry["scale"]]), (id, test)


def test_every_test_is_a_declared_claim(declared):
    """No entry is decided by a claim that is not there."""
    named = {test for entry in entries().values() for test in entry["tests"]}
    assert not named - declared.keys()


def test_invariants_are_decided_by_invariants(declared):
    """What must hold exactly is not left to claims with a margin."""
    for id, entry in entries().items():
        kinds = {declared[test].kind for test in entry["tests"] if test in declared}
        if kinds and entry["kind"] in ("I", "E"):
            assert {"I": "invariant", "E": "empirical"}[entry["kind"]] in kinds, id


def test_entries_are_named_by_topic_and_have_a_test_or_a_reason():
    """As `topic/name`; each id stands in one paper only."""
    listed = [k for id in papers.papers() for k in papers._read(id).get("entries", {})]
    assert len(listed) == len({*listed}) == len(entries())
    for id, entry in entries().items():
        assert re.fullmatch("[a-z-]+/[a-z0-9-]+", id)
        assert bool(entry["tests"]) != bool(entry["reason"]), id


@pytest.fixture
def made_up(tmp_path, monkeypatch) -> Source:
    """Return a source of three tables, each with what the tests below need."""
    (tmp_path / "p.toml").write_text(
        """
        [tables.1]
        rows = [
          { label = "all", a = 1, b = 2.0 },
          { label = "net", setting = "net", a = [10, 3], b = [4, 4], c = 5 },
          { label = "both", setting = "net", variant = ["v", "w"], a = 100 },
          { label = "of v", variant = "v", a = 7, zero = 0 },
          { label = "listed", setting = "listed", variant = ["", "w"], a = 3 },
          { label = "at s", scale = "s", setting = "scaled", a = 50 },
          { label = "of s", scale = "s", setting = "listed", a = 60 },
        ]
        [tables."Fig. 2"]
        rows = [{ label = "net again", setting = "net", a = 11 }]
        [tables.3]
        rows = [{ label = "net (2nd)", setting = "net", d = 1 }]
        """
    )
    monkeypatch.setattr(papers, "FOLDER", tmp_path)
    return paper("p", "section 1", tables=("1", "Fig. 2", "3"))


@pytest.mark.parametrize(
    ("expression", "value", "spread"),
    [
        ("a - b", 6, 5),
        ("-(b - a)", 6, 5),
        ("a / b", 2.5, math.hypot(3 / 4, 10 * 4 / 4**2)),
        ("1 - b / a", 0.6, math.hypot(4 / 10, 4 * 3 / 10**2)),
        ("a * b", 40, math.hypot(3 * 4, 4 * 10)),
        ("(a + c) / 2", 7.5, 1.5),  # no spread of c is known
        ("a - a", 0, 0),  # one number, not two independent ones
        ("c", 5, None),
    ],
)
def test_effects_by_hand(made_up, expression, value, spread):
    """Values, and spreads by independent propagation."""
    effect = made_up.effect(expression, "net", "none")
    assert effect.value == pytest.approx(value)
    assert effect.spread == (None if spread is None else pytest.approx(spread))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("net", "v"), 100),  # setting and variant
        (("net", "other"), 10),  # the setting, of the first table
        (("other", "v"), 7),  # the variant
        (("other", ""), 1),
        (("listed", ""), 3),  # "" in a list: a claim without variants,
        (("listed", "w"), 3),
        (("listed", "u"), 1),  # not every variant
        (("listed", "w", "s"), 60),  # the scale before the variant
        (("listed", "w", "t"), 3),
        (("scaled", "w", "s"), 50),
        (("scaled", "w", "t"), 1),  # nothing of another scale
    ],
)
def test_the_most_specific_row_wins(made_up, place, value):
    """Scale before setting before variant, then the claim's order of tables."""
    assert made_up.effect("a", *place).value == value
    first = Source("p", "", ("Fig. 2", "1"))
    assert first.effect("a", "net", "other").value == 11


def test_a_scale_apart_has_its_own_rows_alone(made_up, monkeypatch):
    apart = papers._read("p") | {"apart": ["s"]}
    monkeypatch.setattr(papers, "_read", lambda id: apart)
    assert made_up.effect("a", "listed", "w", "s").value == 60
    assert made_up.effect("a", "net", "v", "s") is None
    assert made_up.columns("net", "v", "s") == {}
    assert made_up.effect("a", "net", "v", "t").value == 100


def test_rows_are_about_settings_that_there_are():
    for id in ("2402.05966v1", "2402.05966v4", "2402.04051", "2312.09832"):
        for name, table in tables(id).items():
            for row in table["rows"]:
                given = row.get("setting") or []
                of = [SCALES[row["scale"]]] if "scale" in row else SCALES.values()
                for setting in [given] if isinstance(given, str) else given:
                    assert any(setting in scale for scale in of), (id, name, setting)


def test_numbers_shown_of_cifar_100_are_of_cifar_100(declared):
    """Of the main paper; two numbers of CIFAR-100 are in its final version."""
    for claim in declared.values():
        if claim.source.id.startswith("2402.05966"):
            for place in claim.places(SCALES["cifar100"]):
                where = place.setting, place.variant, "cifar100"
                labels = [
                    number.label
                    for numbers in claim.source.columns(*where).values()
                    for number in numbers
                ]
                assert all("CIFAR-100" in label for label in labels), place


def test_an_effect_is_of_one_row(made_up):
    """Where the nearest row lacks a column, the next that has all is taken whole."""
    assert made_up.effect("a - b", "net", "v").value == 6
    assert made_up.effect("zero + a", "net", "v").value == 7


def test_no_effect(made_up):
    """Without an expression, a row about the place, or a number read at first hand."""
    assert made_up.effect("", "net") is None
    assert made_up.effect("c", "other") is None
    assert made_up.effect("d", "net") is None
    assert made_up.columns("net")["d"] == [Number(1, None, "net (2nd)")]


def test_columns_come_nearest_first(made_up):
    """All rows about the place, with labels and spreads."""
    assert made_up.columns("net", "v")["a"] == [
        Number(100, None, "both"),
        Number(10, 3, "net"),
        Number(11, None, "net again"),
        Number(7, None, "of v"),
        Number(1, None, "all"),
    ]
    assert [*made_up.columns("other")] == ["a", "b"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "a - e",
            r"'a - e': arXiv:p, .* has no 'e'; .* columns: 'a', 'b', 'c', 'zero'",
        ),
        ("c - zero", "has no row with all of its columns; its tables' columns: 'a'"),
        ("a -", "'a -' is no expression: invalid syntax"),
        ("a ** b", r"has a Pow: give columns of the tables, numbers, \+ - \* / and"),
        ("abs(a)", "has a Call"),
        ("a.real", "has a Attribute"),
        ("a - 'b'", "has a Constant"),
        ("a * True", "has a Constant"),
        ("a if b else c", "has a IfExp"),
        ("a / zero", "'a / zero' divides by zero in 'of v'"),
    ],
)
def test_what_cannot_be_computed_is_refused(made_up, expression, message):
    """With the offence, and what there is."""
    with pytest.raises(ValueError, match=message):
        made_up.effect(expression, "net", "v")


def test_an_unknown_paper_or_table_is_refused_at_once(made_up):
    """When a claim is declared, not when it is run."""
    with pytest.raises(ValueError, match=r"no paper 'q' .* add q\.toml, .* of 'p'"):
        paper("q", "section 1")
    with pytest.raises(ValueError, match=r"p\.toml has no table '4'; it has '1', 'Fig"):
        raised("p", "section 1", tables=("1", "4"))
    with pytest.raises(ValueError, match=r"has no 'a'; .* columns: none: name some ta"):
        paper("p", "section 1").check("a")


def test_sources_in_words(made_up):
    """Tables by number, others by name where the place does not name them."""
    assert str(made_up) == "arXiv:p, section 1, Tables 1 and 3, Fig. 2"
    assert (
        str(paper("p", "in Fig. 2", ("Fig. 2", "1"))) == "arXiv:p, in Fig. 2, Table 1"
    )
    assert str(paper("p", "Theorem")) == "arXiv:p, Theorem"
    assert str(raised("p", "its section 1")) == "arXiv:p, raised by its section 1"


@pytest.mark.parametrize(
    ("effect", "unit", "margin"),
    [
        (9.22, "points", 2.0),
        (-9.22, "points", 2.0),
        (40.01, "points", 5.0),
        (0.81, "points", 0.2),
        (0.1, "points", 0.1),
        (0.0, "points", 0.1),
        (40.0, "%", 10.0),
        (0.158, "", 0.04),
        (0.0, "", None),
    ],
)
def test_smallest_effect(effect, unit, margin):
    """A quarter to one digit; in points not above 5 nor below 0.1."""
    assert smallest_effect(Number(effect, 1e3), unit) == margin
    assert smallest_effect(None, unit) is None
