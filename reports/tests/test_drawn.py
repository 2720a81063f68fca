"""Forest strips and the map of flips, against places worked out by hand."""

import re
from dataclasses import replace

import pytest

from reports import flips, forest
from reports.coverage import RECORDS
from reports.page import claim_file, pages
from reports.results import read
from reports.tests.made_up import NO_PAPER, made, report


def test_forest_by_hand():
    """An axis from -10 to 30 on 164 pixels from 8 on: 4.1 pixels a point."""
    one = made(estimate=10.0, low=-10.0, high=30.0, margin=5.0, effect=20.0)
    x = forest.common([one])
    assert (x.low, x.high) == (-10, 30)
    assert forest.strip(one, x) == {
        "zero": 49.0,
        "margins": [69.5],
        "low": 8.0,
        "high": 172.0,
        "estimate": 90.0,
        "paper": 131.0,
    }


def test_open_ends_reach_the_edge():
    """What has no upper end goes on; equivalence has two margins."""
    one = made(estimate=1.0, low=0.0, high=None, rule="equivalence", margin=2.0)
    x = forest.common([one.__class__(**vars(one) | NO_PAPER)])
    at = forest.strip(one, x)
    assert at["high"] == forest.WIDTH - forest.INSET and len(at["margins"]) == 2


def test_without_interval_or_common_unit_there_is_no_forest():
    """An error, an invariant, or points beside nats."""
    assert forest.common([made(estimate=None, low=None, high=None)]) is None
    assert forest.common([made(low=None, high=None)]) is None
    assert forest.common([made(), made(setting="mlp", unit="nats")]) is None
    assert forest.strip(made(low=None, high=None), forest.common([made()])) is None


def test_the_value_of_a_single_pair_is_a_point():
    """On an axis that reaches from zero beyond it and the paper's 9.22."""
    one = made(low=None, high=None, n=1, estimate=3.0)
    x = forest.common([one])
    at = forest.strip(one, x)
    assert at["low"] == at["high"] == at["estimate"] == x(3.0)
    assert x.low <= 0 and x.high >= 9.22


def order(values, **more):
    """A trend over two levels of depth, of these differences at 7 and at 13."""
    pairs = [
        {"pair": f"{2 * k}-{2 * k + 1}", "7": a, "13": b}
        for k, (a, b) in enumerate(values)
    ]
    curves = {"names": ["7", "13"], "x": [7, 13], "x_label": "convolutions",
              "lines": {"": [[a, b] for a, b in values]}}  # fmt: skip
    return made(id="order/depth", rule="trend", pairs=pairs, curves=curves, **more)


THREE = [(-4.0, 1.0), (-5.0, 0.0), (-6.0, -1.0)]


def test_flips_by_hand():
    """-4, -5 and -6: mean -5, standard error 1/sqrt(3), times 4.303, by t of 2 degrees
    of freedom: 2.48 on both sides, REPAIR is ahead; around 0 neither is."""
    [line] = flips.lines([order(THREE), made()])
    assert (line.factor, line.where) == ("convolutions", "plain-vgg weights")
    assert line.note.endswith(f": {made().sentence}")
    first, second = line.cells
    half = 4.302653 / 3**0.5
    assert (first.mean, first.ahead) == (-5.0, "repair")
    assert first.low == pytest.approx(-5 - half) and first.high == pytest.approx(
        -5 + half
    )
    assert first.text == "-5.0 [-7.5, -2.5]" and second.text == "0.0 [-2.5, 2.5]"
    assert second.ahead == ""
    [ahead] = flips.lines([order([(-a, -b) for a, b in THREE])])
    assert [cell.ahead for cell in ahead.cells] == ["rescale", ""]
    [single] = flips.lines([order([(3.0, 1.0)])])
    assert single.cells[0].ahead == "" and single.cells[0].text == "+3.0"
    cells = (first, second, ahead.cells[0], single.cells[0])
    outcomes = ["REPAIR ahead", "neither", "RESCALE ahead", "one pair"]
    assert [cell.outcome for cell in cells] == outcomes


def cell(setting, values, **more):
    """A cell of the map, of these differences."""
    pairs = [{"pair": f"{2 * k}-{2 * k + 1}", "decided": v}
             for k, v in enumerate(values)]  # fmt: skip
    given = {"id": "order/cell", "setting": setting, "pairs": pairs, "curves": None}
    return made(**given | more)


def test_cells_stand_side_by_side_with_the_papers():
    """A line for each scale, variant and protocol; the paper's number by its own."""
    low, high = [-4.0, -5.0, -6.0], [4.0, 5.0, 6.0]
    headline = made(id=flips.HEADLINE, effect=9.22, effect_spread=4.16)
    corrected, uncorrected, other = flips.lines(
        [
            headline,
            cell("plain-vgg", low),
            cell("plain-vgg-wd5", high),
            cell("plain-vgg", high, id="order/uncorrected-cell"),
            cell("plain-vgg", low, variant="activations"),
            made(id="order/while-the-rate-is-high"),  # a change is no cell
        ]
    )
    assert (corrected.factor, corrected.where) == ("networks", "weights")
    assert [(c.level, c.ahead) for c in corrected.cells] == [
        ("plain-vgg", "repair"),
        ("plain-vgg-wd5", "rescale"),
        ("the paper's", ""),
    ]
    assert corrected.cells[-1].text == "9.22 ± 4.16"
    # Its code corrects statistics; of activation matching nothing is known here.
    assert [c.level for c in uncorrected.cells] == ["plain-vgg"]
    assert [c.level for c in other.cells] == ["plain-vgg"]


def test_a_trend_has_the_papers_cell_too():
    headline = made(id=flips.HEADLINE, effect=9.22, effect_spread=4.16)
    [line] = flips.lines([order(THREE), headline])
    assert line.cells[-1].paper and line.cells[-1].mean == 9.22
    [line] = flips.lines([order(THREE, scale="mnist"), headline])
    assert not line.cells[-1].paper


def test_the_papers_cell_is_marked_on_the_page():
    held = report([order(THREE), made(id=flips.HEADLINE, effect=9.22)])["order.html"]
    assert '<div class="flip paper"><dt>the paper&#39;s</dt>' in held
    assert 'class="flip paper"><dt>' not in report([order(THREE)])["order.html"]


def test_every_line_of_the_map_has_a_heading_of_its_own():
    """Of the record: by corrected and by uncorrected statistics, in the same words."""
    shown = pages(read(RECORDS / "paper.jsonl"))
    heads = re.findall(r"<h2>(.*?)</h2>", shown["order.html"])
    assert len({*heads}) == len(heads) == 4
    assert sum(", corrected statistics<" in head for head in heads) == 2
    assert sum(", uncorrected statistics<" in head for head in heads) == 2
    # The headline is about that difference: it leads there.
    assert 'href="../order.html"' in shown[claim_file(flips.HEADLINE)]


def test_the_map_speaks_of_uncorrected_statistics_where_it_has_them():
    beside = "uncorrected ones stand here beside them"
    assert beside in pages(read(RECORDS / "paper.jsonl"))["order.html"]
    assert beside not in report([order(THREE)])["order.html"]


def test_the_first_page_names_the_factors_that_the_map_has():
    """And the paper's number only where it is there."""

    def told(*results):
        text = report(results)["index.html"]
        return text[text.index("flips</a>: ") :].partition("</p>")[0]

    assert told(order(THREE)) == "flips</a>: a map over depth."
    wider = order(THREE)
    wider = replace(wider, id="order/width", curves=wider.curves | {"x_label": "width"})
    headline = made(id=flips.HEADLINE, effect=9.22)
    assert told(order(THREE), wider, headline) == (
        "flips</a>: a map over depth and width, with the paper's own number."
    )


def test_the_map_is_there_where_something_was_measured():
    """Linked from the first page; without such claims there is none."""
    held = report([order(THREE)])
    assert 'href="order.html"' in held["index.html"]
    assert '<div class="flip repair"><dt>7</dt>' in held["order.html"]
    without = report([made(), made(id="order/protocol")])
    assert "order.html" not in without
    assert not any("order.html" in text for text in without.values())
