"""``python -m claims nightly``."""

import pytest

from claims import __main__ as command
from claims.nightly import command as nights
from claims.nightly.drawn import Drawn
from claims.nightly.history import History
from claims.nightly.night import news
from claims.nightly.process import key_of
from claims.nightly.standing import Standing


def test_the_command_tells_and_exits_by_the_night(
    tmp_path, places, residuals, monkeypatch, capsys
):
    key = key_of(places[1])
    fault = news("same", key, "the fixed networks: x was 1 and is 2", red=True)
    source = Drawn(residuals, seed=0, found={"2027-01-02": [fault]})
    monkeypatch.setattr(nights, "places_of", lambda _: places)
    monkeypatch.setattr(nights, "Laboratory", lambda *_: source)
    call = ["nightly", "--history", str(tmp_path), "--night"]
    assert command.main([*call, "2027-01-01"]) == 0
    assert "is green: everything still holds" in capsys.readouterr().out
    assert command.main([*call, "2027-01-02"]) == 1
    told = capsys.readouterr().out
    assert "is RED: 1 x same networks, other values" in told
    assert f"RED: same networks, other values: {key[0]} {key[1]}: the fixed" in told
    assert command.main([*call, "2027-01-02"]) == 1  # still red, and done
    assert "is done already: nothing is measured again" in capsys.readouterr().out
    assert command.main([*call, "2027-01-01"]) == 2
    assert "lies before the last night" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("[a-z]*")} == {
        *("index.html", "feed.xml", "supported.svg", "last-night.svg"),
        *(f"{name}.jsonl" for name in ("blocks", "processes", "values")),
        *("strata.jsonl", "news.jsonl"),
    }


def test_accepting_needs_a_place_and_a_reason(tmp_path, places, monkeypatch, capsys):
    monkeypatch.setattr(nights, "places_of", lambda _: places)
    name = " ".join(key_of(places[0]))
    call = ["nightly", "--history", str(tmp_path), "--accept"]
    assert command.main([*call, name, "--why", "a bug in x"]) == 2
    assert f"{tmp_path} has no nights: name the folder" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
    History(tmp_path).begin("2027-01-01", "stratum", "machine")
    assert command.main([*call, name]) == 2
    assert "say --why" in capsys.readouterr().err
    assert command.main([*call, "no place", "--why", "x"]) == 2
    assert f"name one as the news do, such as {name!r}" in capsys.readouterr().err
    assert command.main([*call, name, "--why", "a bug in x"]) == 0
    standing = Standing(History(tmp_path), 12)
    assert standing.accepted == {key_of(places[0]): 1}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--budget", "0"], "is no number of minutes between 0 and a day"),
        (["--night", "tomorrow"], "give a date as 2027-01-31"),
        (["--night", "2027-02-30"], "give a date as 2027-01-31"),
    ],
)
def test_what_is_no_budget_or_night_is_refused(options, told, capsys):
    with pytest.raises(SystemExit):
        command.main(["nightly", *options])
    assert told in capsys.readouterr().err
