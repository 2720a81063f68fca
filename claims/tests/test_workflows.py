"""The workflows' steps, run in a plain shell, and what they may do."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

GH = """#!/bin/sh
# Stands for GitHub's command: notes how it was called, and answers from a file.
echo "$@" >> "$CALLS"
case "$1 $2" in
"issue list") cat "$OPEN" ;;
"run list") cat "$RUNS" ;;
"run download") test "$3" = 22 && echo '{"night":"2027-01-01"}' > "$7/news.jsonl" ;;
esac
"""


@pytest.fixture
def shell(tmp_path):
    """Run a step's command with a stand-in for `gh`; return its result and calls."""
    command = tmp_path / "bin" / "gh"
    command.parent.mkdir()
    command.write_text(GH)
    command.chmod(0o755)
    files = {name: tmp_path / name for name in ("CALLS", "OPEN", "RUNS")}
    for file in files.values():
        file.write_text("")

    def run(*arguments, **answers):
        for name, answer in answers.items():
            files[name].write_text(answer)
        files["CALLS"].write_text("")
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            env={
                "PATH": f"{command.parent}:{os.environ['PATH']}",
                **{name: str(file) for name, file in files.items()},
            },
            capture_output=True,
            text=True,
        )
        return done, files["CALLS"].read_text().splitlines()

    return run


@pytest.mark.parametrize(
    ("result", "open_issue", "does"),
    [
        ("failure", "", "issue create --title The last night was red"),
        ("failure", "7\n", "issue comment 7 --body Red once more: URL"),
        ("success", "7\n", "issue close 7 --comment Green again: URL"),
        ("success", "", None),
        ("cancelled", "7\n", None),
    ],
)
def test_one_issue_is_opened_updated_and_closed(shell, result, open_issue, does):
    done, calls = shell(".ci/tracking-issue", result, "URL", OPEN=open_issue)
    assert done.returncode == 0, done.stderr
    assert calls[0].startswith("issue list --state open")
    assert len(calls) == 1 if does is None else calls[1].startswith(does)


def test_the_history_is_that_of_the_last_run_that_left_one(shell, tmp_path):
    folder = tmp_path / "history"
    done, calls = shell(".ci/history", str(folder), RUNS="33\n22\n11\n")
    assert done.returncode == 0 and "history of run 22" in done.stdout
    assert [call.split()[2] for call in calls[1:]] == ["33", "22"]
    assert (folder / "news.jsonl").read_text() == '{"night":"2027-01-01"}\n'


def test_without_any_the_first_night_begins_one(shell, tmp_path):
    done, _ = shell(".ci/history", str(tmp_path / "history"))
    assert done.returncode == 0 and "this is the first night" in done.stdout


def test_the_site_has_the_nights(tmp_path):
    """The page, the feed and the badges, not the tables."""
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text("#!/bin/sh\nmkdir -p docs/out && echo $1 > docs/out/index.html\n")
    make.chmod(0o755)
    (tmp_path / "history").mkdir()
    shown = {"index.html", "feed.xml", "supported.svg", "last-night.svg"}
    for name in (*shown, "values.jsonl"):
        (tmp_path / "history" / name).write_text(name)
    subprocess.run(
        [ROOT / ".ci" / "site", "history"],
        cwd=tmp_path,
        env={"PATH": f"{make.parent}:{os.environ['PATH']}"},
        check=True,
    )
    site = tmp_path / "docs" / "out"
    assert (site / "index.html").read_text() == "docs\n"
    assert {path.name for path in (site / "nights").iterdir()} == shown


def test_both_workflows_are_looked_at():
    assert [path.stem for path in WORKFLOWS] == ["nightly", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_nothing_is_permitted_by_default(path):
    text = path.read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, version in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", version), action
    assert "\npermissions: {}\n" in text
    assert "persist-credentials: false" in text and "write-all" not in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_steps_are_commands_that_are_there(path):
    commands = re.findall(r"run: (\S+)(?: (\w+))?", path.read_text())
    assert commands
    for command, target in commands:
        if command == "make":
            assert f"\n{target}: " in (ROOT / "Makefile").read_text()
        else:
            assert os.access(ROOT / command, os.X_OK), command
