"""Results as tables of pandas: each place, or value of a pair, in a row of its own."""

import pandas
import pytest

import reports
from reports.coverage import RECORDS
from reports.results import read, write
from reports.tests.made_up import WHEN, made


@pytest.fixture
def file(tmp_path):
    """Two places, one of which has only been an error."""
    path = tmp_path / "results.jsonl"
    nothing = {"estimate": None, "n": None, "share": None, "pairs": []}
    failed = made(setting="mlp", verdict="error", error="no network", **nothing)
    write(path, [made(), failed])
    return path


def test_a_place_a_row(file):
    """Numbers are numbers, also where some are missing."""
    table = reports.load(file)
    assert table.setting.tolist() == ["plain-vgg", "mlp"]
    assert table.estimate.dtype == "float64" and table.n.dtype == "Int64"
    assert table.estimate[0] == 1.2 and table.n[0] == 8
    assert table.loc[1, ["estimate", "n", "share"]].isna().all()
    assert (table.measured_at == pandas.Timestamp(WHEN)).all()
    assert {"pairs", "curves", "paper", "fixtures"}.isdisjoint(table.columns)


def test_a_value_of_a_pair_a_row(file):
    table = reports.load_pairs(str(file))
    pairs = made().pairs
    assert len(table) == sum(len(pair) - 1 for pair in pairs)
    assert {*table.setting} == {"plain-vgg"}
    for pair in pairs:
        found = table[table.pair == pair["pair"]].set_index("column").value.to_dict()
        assert found | {"pair": pair["pair"]} == pair


def test_a_scale_stands_for_its_record():
    record = read(RECORDS / "digits.jsonl")
    table = reports.load("digits")
    assert table.estimate.count() == sum(r.estimate is not None for r in record) > 100
    assert table.verdict.tolist() == [result.verdict for result in record]


@pytest.mark.parametrize("name", ["digit", "nights/digits"])
@pytest.mark.parametrize("load", [reports.load, reports.load_pairs])
def test_what_is_neither_is_refused(load, name):
    told = f"{name!r} is neither .* give a \\*.jsonl, or one of digits"
    with pytest.raises(FileNotFoundError, match=told):
        load(name)


def test_a_file_of_nothing_is_an_empty_table(tmp_path):
    write(tmp_path / "none.jsonl", [])
    table = reports.load(tmp_path / "none.jsonl")
    assert table.empty and "verdict" in table.columns
    assert reports.load_pairs(tmp_path / "none.jsonl").empty
