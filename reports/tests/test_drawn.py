"""Forest strips and the map of flips, against places worked out by hand."""

from reports import flips, forest
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


def order(values, **more):
    """A trend over two levels of depth, of these differences at 7 and at 13."""
    pairs = [
        {"pair": f"{2 * k}-{2 * k + 1}", "7": a, "13": b}
        for k, (a, b) in enumerate(values)
    ]
    curves = {"names": ["7", "13"], "x": [7, 13], "x_label": "convolutions",
              "lines": {"": [[a, b] for a, b in values]}}  # fmt: skip
    return made(id="order/depth", rule="trend", pairs=pairs, curves=curves, **more)


def test_flips_by_hand():
    """-4 and -6: mean -5, error 1, REPAIR ahead; 1 and -1 is neither."""
    [line] = flips.lines([order([(-4.0, 1.0), (-6.0, -1.0)]), made()])
    assert line.factor == "convolutions"
    first, second = line.cells
    assert (first.mean, first.error, first.ahead) == (-5.0, 1.0, "repair")
    assert first.text == "-5.0 ± 1.0" and second.text == "0.0 ± 1.0"
    assert second.ahead == ""
    [ahead] = flips.lines([order([(3.0, 1.0), (5.0, 5.0)])])  # errors of 1 and 2
    assert [cell.ahead for cell in ahead.cells] == ["rescale", ""]
    [single] = flips.lines([order([(3.0, 1.0)])])
    assert single.cells[0].ahead == "" and single.cells[0].text == "+3.0"


def test_the_map_is_there_where_something_was_measured():
    """Linked from the first page; without such claims there is none."""
    held = report([order([(-4.0, 1.0), (-6.0, -1.0)])])
    assert 'href="order.html"' in held["index.html"]
    assert '<div class="flip repair"><dt>7</dt>' in held["order.html"]
    without = report([made(), made(id="order/protocol")])
    assert "order.html" not in without
    assert not any("order.html" in text for text in without.values())
