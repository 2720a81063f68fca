"""The list of claims has all that the papers say, and nothing in it is markup."""

from docs.catalogue import page, write
from reports.catalogue import Entry, Paper, read_papers


def made(**fields):
    given = {"id": "a/b", "paper": "1234", "where": "Table 1", "kind": "E"}
    given |= {
        "sentence": "It is.",
        "quote": "",
        "numbers": "",
        "tests": (),
        "reason": "",
    }
    return Paper("1234", "", "", "", (), (Entry(**given | fields),))


def test_every_finding_is_there_with_its_claims():
    papers = read_papers()
    entries = [entry for paper in papers for entry in paper.entries]
    text = page(papers)
    assert text.count("\n: ") == len(entries) > 100
    assert text.startswith(f"# Claims of the papers\n\n{len(entries)} findings, ")
    for entry in entries:
        assert f"arXiv {entry.paper}\n" in text
        assert all(f"`{test}`" in text for test in entry.tests)


def test_why_a_finding_is_not_asked_is_said():
    assert page([made(reason="no such data")]).endswith("Not asked: no such data\n")


def test_nothing_is_markup():
    text = page([made(sentence="a *b* <i>c</i>\n$d_e$", tests=("a/c",))])
    assert r"a \*b\* \<i\>c\</i\> \$d\_e\$" in text


def test_a_page_that_is_the_same_is_left_alone(tmp_path):
    """So that Sphinx does not build everything anew."""
    file = tmp_path / "generated" / "claims.md"
    write(file)
    written = file.stat().st_mtime_ns
    write(file)
    assert file.stat().st_mtime_ns == written
    file.write_text("something else")
    write(file)
    assert file.read_text().startswith("# Claims of the papers")
