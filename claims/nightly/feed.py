"""The Atom feed: an entry for each night that had something to tell."""

from xml.etree import ElementTree as tree

from claims.nightly.report import Report, line

ATOM = "http://www.w3.org/2005/Atom"

ENTRIES = 30
"""Nights in the feed, the last ones."""


def feed(report: Report) -> str:
    """Return the feed of a report (RFC 4287)."""
    ends = {row["night"]: row["at"] for row in report.blocks}
    about = f"urn:linear-mode-connectivity:nights:{report.scale}"
    root = tree.Element("feed", xmlns=ATOM)
    _add(root, "id", about)
    _add(root, "title", f"Nights of linear mode connectivity, {report.scale}")
    _add(root, "updated", ends[report.night])
    _add(_add(root, "author"), "name", "python -m claims nightly")
    for night in reversed(report.nights):
        told = report.of(night)
        if len(root.findall("entry")) == ENTRIES:
            break
        if not told and night != report.night:
            continue
        entry = _add(root, "entry")
        state = "red" if report.is_red(night) else "green"
        _add(entry, "id", f"{about}:{night}")
        _add(entry, "title", f"{night}: {state}, {len(told)} news")
        _add(entry, "updated", ends[night])
        first = [report.paragraph] if night == report.night else []
        _add(entry, "content", "\n".join([*first, *map(line, told)]))
    tree.indent(root)
    return tree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: tree.Element, name: str, text: str | None = None) -> tree.Element:
    element = tree.SubElement(parent, name)
    element.text = text
    return element
