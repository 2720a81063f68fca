"""What would decide a claim, what that costs, and which command measures again."""

import shlex

import pytest

from reports.deciding import again, command, duration, outlook
from reports.tests.made_up import FIRST, made

NODE = "claims/test_a.py::test_b[plain-vgg-weights]"
UNDECIDED = {"verdict": "inconclusive", "needed": 20, "nodeid": NODE}


def fixture(seconds=None, name="plain-vgg"):
    """Networks of a setting, with what training one of them took."""
    return {"name": name, "seeds": list(range(16)), "seconds": seconds}


def test_units_have_a_name():
    """By what the values belong to."""
    names = ("100-101", "seed 100", "100..103", "plain-vgg-wd3", "7", "")
    assert [made(pairs=[{"pair": name}]).units for name in names] == [
        *("pairs", "networks", "tuples", "units", "units", "units")
    ]
    assert made(pairs=[]).units == "units"


def test_pairs_and_their_cost():
    """Of 20 pairs 8 are there: 24 networks of 10 s, and 12 pairs of 2 s measuring."""
    result = made(**UNDECIDED, n=8, seconds=16.0, fixtures=[fixture(10.0)])
    text, asked = outlook(result)
    assert text == (
        "About 20 pairs would decide it if the estimate is right: 12 more, 24 "
        "networks, about 4 min."  # 24 * 10 + 12 * 2 = 264 s
    )
    assert asked == f"pytest '{NODE}' --scale digits --seeds 40"


def test_cost_of_several_settings():
    """Each has its networks; where one's time is not known, none is told."""
    both = [fixture(10.0), fixture(50.0, "mlp")]
    text = outlook(made(**UNDECIDED, n=8, seconds=0.0, fixtures=both)).text
    assert text.endswith("24 networks of each setting, about 24 min.")
    unknown = [fixture(10.0), fixture(None)]
    text = outlook(made(**UNDECIDED, n=8, fixtures=unknown)).text
    assert text.endswith("12 more, 24 networks of each setting to train.")


@pytest.mark.parametrize(
    ("name", "networks", "told"),
    [("seed 100", 20, "20 networks"), ("100..103", 80, "20 tuples")],
)
def test_other_units_have_other_networks(name, networks, told):
    """One each, or as many as a tuple's first and last seed say."""
    text, asked = outlook(made(**UNDECIDED, n=8, pairs=[{"pair": name}]))
    assert f"About {told} would" in text and asked.endswith(f"--seeds {networks}")


def test_what_no_number_of_pairs_decides():
    """A premise that isn't met, an estimate at the margin; no command."""
    premise = made(**UNDECIDED, decision="premise not met: no gap (mean > 2)")
    assert "lack what it is about" in outlook(premise).text
    at_margin = outlook(made(**UNDECIDED | {"needed": None}))
    assert "Not even 10,000 pairs" in at_margin.text and at_margin.command == ""
    single = outlook(made(**UNDECIDED | {"needed": None}, n=1))
    assert "a single one of its pairs can't tell" in single.text
    nameless = outlook(made(**UNDECIDED, pairs=[{"pair": "plain-vgg"}]))
    assert nameless.command == "" and "About 20 units would" in nameless.text
    assert outlook(made()) is None and outlook(made(verdict="refuted")) is None


@pytest.mark.parametrize(
    ("name", "n", "told"),
    [
        ("100-101", 1, "all 8 pairs are there; so far 1 is."),
        ("100..103", 1, "all 4 tuples are there; so far 1 is."),
        ("seed 100", 2, "all 16 networks are there; so far 2 are."),
        ("plain-vgg", 1, "all 8 units are there; so far 1 is."),
    ],
)
def test_networks_that_come_in_lots_decide_when_all_are_there(name, n, told):
    """They lack nothing but their number: more of them do decide it."""
    lot = made(**FIRST | {"pairs": [{"pair": name}], "n": n})
    assert outlook(lot).text == f"It is decided when {told}"


def test_command_of_a_pair():
    """From its first seed, two networks; a seed that failed lies in between."""
    result = made(nodeid=NODE)
    begin = f"pytest '{NODE}' --scale digits"
    assert again(result, "104-105") == f"{begin} --first-seed 104 --seeds 2"
    assert again(result, "100-103") == f"{begin} --first-seed 100 --seeds 2"
    assert again(result, "seed 101") == f"{begin} --first-seed 100 --seeds 2"
    assert again(result, "104..106") == f"{begin} --first-seed 104 --seeds 4"
    assert again(result, "plain-vgg") == ""


def test_command_says_device_and_long():
    """What the run needs beside the test's name, quoted for a shell."""
    evil = made(nodeid="a.py::b[$(rm 'x')]", scale="paper", device="cuda", long=True)
    words = shlex.split(command(evil, 40))
    assert words[:2] == ["pytest", "a.py::b[$(rm 'x')]"]
    told = "--scale paper --seeds 40 --device cuda --long"
    assert words[2:] == told.split()


def test_durations():
    """Seconds, minutes, hours."""
    found = [duration(s) for s in (0, 89, 90, 5399, 5400, 90000)]
    assert found == ["0 s", "89 s", "2 min", "90 min", "1.5 h", "25.0 h"]
