"""The benchmarks run at small sizes, and compare what is the same."""

import json

from lmc.benchmarks.library import main


def test_all_comparisons_run_and_are_written(tmp_path, capsys):
    """A line each, with what two ways take and a ratio, and the same as JSON."""
    path = tmp_path / "bench.json"
    main(["--quick", "--repeats", "2", "--json", str(path)])
    lines = capsys.readouterr().out.splitlines()[1:]
    written = json.loads(path.read_text())
    assert [entry["what"] for entry in written] == [
        line[: len(entry["what"])] for line, entry in zip(lines, written, strict=True)
    ]
    assert {len(entry["ours"]) for entry in written} == {2}
    memory = [entry for entry in written if entry["unit"] == "MB"]
    assert len(written) == 17 and len(memory) == 4
    kept = [entry for entry in memory if "activation" in entry["what"]]
    assert len(kept) == 2
    assert all(entry["baseline"][0] > entry["ours"][0] for entry in kept)
