"""Where the marks of the plots lie, against places worked out by hand."""

import re
from itertools import pairwise

import pytest

from reports import plots
from reports.axes import axis, log_axis, named_axis
from reports.results import Result, check_curves
from reports.tests.made_up import evidence, made

LEVELS = ["lr 0.01", "lr 0.03", "lr 0.1"]


def trend(**curves):
    """Make a trend over three levels and two pairs, as `Trial.decide_trend` does."""
    rows = [[30.0, 20.0, 10.0], [34.0, 22.0, 10.0]]
    pairs = [
        {"pair": name, **dict(zip(LEVELS, row, strict=True)), "decided": -20.0}
        for name, row in zip(("0-1", "2-3"), rows, strict=True)
    ]
    given = {"names": LEVELS, "unit": "barrier in points", "lines": {"": rows}}
    return made(rule="trend", pairs=pairs, paper=[], curves=given | curves)


def texts(made):
    return [text for _, text in made.ticks]


def test_log_ticks_by_hand():
    """Over two decades 1-3; log10(3) = 0.4771 of a decade of 100 pixels."""
    x = log_axis([0.1, 0.001, 0.02], 0, 200)
    assert texts(x) == ["0.001", "0.003", "0.01", "0.03", "0.1"]
    assert [x(at) for at, _ in x.ticks] == [0.0, 47.7, 100.0, 147.7, 200.0]
    assert x(0.002) == 30.1  # log10(2) = 0.3010


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.02, 0.05], "0.02 0.03 0.04 0.05"),
        ([0.01, 0.1], "0.01 0.02 0.05 0.1"),
        ([1, 8], "1 2 5 10"),
        ([0.0015, 0.7], "0.001 0.01 0.1 1"),
        ([1e-8, 1.0], "1e-08 1e-06 0.0001 0.01 1"),
        ([1e-12, 100], "1e-12 1e-09 1e-06 0.001 1 1000"),
        ([3, 3], "1 2 3 4 5 6"),
        ([0.01], "0.005 0.01 0.02"),
        ([2.0**-12, 1], "0.0001 0.001 0.01 0.1 1"),
        ([], "0.5 1 2"),
    ],
)
def test_log_ticks_fit_the_range(values, expected):
    """From within a decade to fourteen of them, a single value, and none."""
    x = log_axis(values, 0, 300)
    assert " ".join(texts(x)) == expected
    assert all(0 <= x(value) <= 300 for value in values)


def test_linear_ticks_keep_zero():
    """Where every second tick is left out, zero's is not."""
    assert texts(axis([-16, 83], 0, 300)) == ["0", "40", "80"]


def test_names_stand_in_the_middle_of_their_share():
    """Three names on 300 pixels have 100 each."""
    x = named_axis(["a", "b", "c"], 0, 300)
    assert [x(at) for at, _ in x.ticks] == [50.0, 150.0, 250.0]


def test_trend_is_a_curve_over_its_levels():
    """One line of three places; at the first the mean of 30 and 34 is 32."""
    plot = plots.curves(trend())
    [line] = plot["lines"]
    assert [tick["text"] for tick in plot["ticks"]] == LEVELS
    # Shares of (348 - 34) / 3 = 104.67 pixels.
    places = [34 + 104.667 * (k + 0.5) for k in range(3)]
    assert [point[0] for point in line["points"]] == pytest.approx(places, abs=0.06)
    assert [point[2] for point in line["points"]] == ["32", "21", "10"]
    assert len(line["pairs"]) == 2 and plot["marked"]
    assert "the mean lies between 10 and 32" in plot["text"]


def test_trend_over_numbers_on_a_log_scale():
    """The levels' numbers are the places: 0.03 is 0.4771 of the way to 0.1."""
    x = [0.01, 0.03, 0.1]
    plot = plots.curves(trend(x=x, x_scale="log", x_label="learning rate"))
    [line] = plot["lines"]
    middle = 34 + 0.4771 * (348 - 34)
    assert [point[0] for point in line["points"]] == pytest.approx(
        [34, middle, 348], abs=0.06
    )
    assert plot["x_label"] == ["learning rate"]


def test_a_long_axis_label_is_wrapped():
    """314 pixels hold 50 letters of 6.2 pixels."""
    lines = ["rank of the singular triple, as a share of its", "layer's triples"]
    assert len(lines[0] + " layer's") > 50
    assert plots.curves(trend(x_label=" ".join(lines)))["x_label"] == lines


def test_levels_of_a_trend_are_not_drawn_twice():
    """The contrast that was decided, and the levels that the paper has numbers of."""
    plot = plots.values(trend())
    assert [row["label"] for row in plot["rows"]] == ["decided"]
    result = trend()
    result.paper.append(
        {"label": "VGG", "column": LEVELS[1], "value": 5.0, "spread": None}
    )
    plot = plots.values(result)
    assert [row["label"] for row in plot["rows"]] == [LEVELS[1], "decided"]
    assert [cite["label"] for cite in plot["cites"]] == ["lr 0.03: VGG"]


def test_paper_numbers_are_told_by_column():
    """Of the decided quantity by its label alone."""
    labels = [cite["label"] for cite in plots.values(made())["cites"]]
    assert labels == [
        "VGG16/CIFAR-10, WM",
        "repair: VGG16/CIFAR-10, WM",
        "rescale: VGG11/CIFAR-100 (Table 5), WM",
    ]


def test_missing_values_leave_gaps():
    """Pairs of other lengths, without values, or with a hole; a line that ends."""
    curves = {
        "x": [0, 1, 2, 3],
        "lines": {
            "hole": [[4, None, 0, 0], [2, None, 0], []],
            "broken": [[1, None, 1, 1], [3, 3, None, 3]],
            "short": [[1, 1]],
            "nothing": [[], [None]],
        },
    }
    plot = plots.curves(made(curves=curves))
    hole, broken, short = plot["lines"]
    # No pair has a value at 1, which is no place of this line: no gap.
    assert [point[2] for point in hole["points"]] == ["3", "0", "0"]
    assert [path.count("M") for path in hole["pairs"]] == [1, 1]
    # Another pair has one at the place: there is a gap, and a dash for what it leaves.
    assert [path.count("M") for path in broken["pairs"]] == [2, 2]
    assert [path.count("m-1.5 0h3") for path in broken["pairs"]] == [1, 1]
    assert [point[2] for point in broken["points"]] == ["2", "3", "1", "2"]
    assert short["name"] == "short" and len(short["points"]) == 2
    assert "<svg" in evidence([made(curves=curves)])


@pytest.mark.parametrize("lines", [{}, {"a": []}, {"a": [[], [None, None]]}])
def test_without_any_value_there_is_no_curve(lines):
    """The page has the rest of the result."""
    result = made(curves={"x": [1, 2], "lines": lines})
    assert plots.curves(result) is None
    assert result.measured in evidence([result])


def test_one_place_is_marked():
    """A mean without length would not be seen."""
    curves = {"x": [0.01], "x_scale": "log", "lines": {"a": [[1.0], [2.0]]}}
    plot = plots.curves(made(curves=curves))
    assert plot["marked"] and "m-1.5 0h3" in plot["lines"][0]["mean"]


@pytest.mark.parametrize("count", [3, 9, 20, 48, 120])
def test_names_of_levels_do_not_touch(count):
    """Slanted lines of text are at least their height of 11 pixels apart."""
    names = [f"blocks.{k}.attention.proj" for k in range(count)]
    curves = {"names": names, "lines": {"": [[float(k) for k in range(count)]]}}
    plot = plots.curves(made(curves=curves))
    ats = [tick["at"] for tick in plot["ticks"]]
    sine = 0.766  # of 50 degrees
    assert all((b - a) * sine >= 11 for a, b in pairwise(ats))
    assert all(tick["slant"] == 50 for tick in plot["ticks"])
    assert plot["ticks"][0]["text"] == "…ttention.proj"
    assert plot["ticks"][0]["full"] == "blocks.0.attention.proj"
    assert plot["marked"] == (count <= 20)


def test_twelve_lines_are_told_apart():
    """No two have colour and dash in common; their pairs are not drawn."""
    lines = {f"layer {k}": [[k, k + 1.0]] for k in range(12)}
    plot = plots.curves(made(curves={"x": [0, 1], "lines": lines}))
    assert len({(line["colour"], line["dash"]) for line in plot["lines"]}) == 12
    assert not any(line["pairs"] for line in plot["lines"])
    text = evidence([made(curves={"x": [0, 1], "lines": lines})])
    assert "Thin: pairs" not in text


def test_data_behind_the_curves_is_a_table():
    """A row for each place: the mean of 30 and 34 is 32, their deviation 2.83."""
    text = evidence([trend(x_label="learning rate")])
    table = text[text.index("Values of the curves") :]
    assert re.findall(r'<th scope="col">([^<]*)</th>', table)[:2] == [
        *("learning rate", "value")
    ]
    assert "<tr><th>lr 0.01</th><td>32 ± 2.83</tr>" in table


LINES = {"a": [[1.0, 2.0]]}


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "no places: give 'x', a number for each, or 'names'"),
        ({"x": []}, "no places: give 'x'"),
        ({"names": []}, "no places: give 'x'"),
        ({"x": [1, "2"]}, "'x' holds '2': give finite numbers"),
        ({"x": [1, None]}, "'x' holds None: give finite numbers"),
        ({"x": [1, float("inf")]}, "'x' holds inf: give finite numbers"),
        (
            {"x": [1, 2, 3], "names": ["a", "b"]},
            "'x' has length 3 and 'names' 2: give one number for each name",
        ),
        ({"x": [1, 2], "x_scale": "ln"}, "'x_scale' is 'ln': give 'linear' or 'log'"),
        (
            {"x": [0.0, 1.0], "x_scale": "log"},
            "a log scale needs numbers above zero, and the curves' 'x' holds 0.0: "
            "give such numbers, or 'linear' as 'x_scale'",
        ),
        ({"x": [1.0, -0.1], "x_scale": "log"}, "'x' holds -0.1: give such"),
        ({"names": ["a", "b"], "x_scale": "log"}, "'x' is missing: give such"),
        ({"x": [0.5]}, "line 'a' of the curves has 2 values at 1 places: give a "),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(curves, message):
    """By whom records them and by whom reads them; the message says what to give."""
    with pytest.raises(ValueError, match=message):
        check_curves(curves | {"lines": LINES})
    with pytest.raises(ValueError, match=message):
        Result.from_json(vars(made()) | {"curves": curves | {"lines": LINES}})


@pytest.mark.parametrize(
    "curves",
    [
        None,
        {},
        {"lines": {}},
        {"x": [-1, 0], "lines": LINES},
        {"x": (0.1, 1), "x_scale": "log", "lines": LINES},
        {"names": ["half", "whole", "double"], "lines": LINES},
    ],
)
def test_curves_that_can_be_drawn_pass(curves):
    """Numbers, names alone, a line that ends early, and none."""
    check_curves(curves)
    evidence([made(curves=curves)])
