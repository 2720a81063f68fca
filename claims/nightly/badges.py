"""Badges: what one glance should say, as SVG of its own."""

from markupsafe import escape

from claims.nightly.report import Report

LETTER = 6.6
"""Mean width of a letter, in pixels."""

GREEN, RED, GREY = "#2e7d32", "#c62828", "#555"


def badge(label: str, text: str, colour: str) -> str:
    """Return a badge of two fields.

    Examples
    --------
    >>> "<title>last night: red</title>" in badge("last night", "red", RED)
    True
    """
    left, right = (round(len(part) * LETTER) + 12 for part in (label, text))
    label, text = escape(label), escape(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" '
        f'role="img" aria-label="{label}: {text}"><title>{label}: {text}</title>'
        f'<rect width="{left + right}" height="20" rx="3" fill="{colour}"/>'
        f'<path fill="{GREY}" d="M3 0H{left}V20H3A3 3 0 0 1 0 17V3A3 3 0 0 1 3 0"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        f'text-anchor="middle"><text x="{left / 2:g}" y="14">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14">{text}</text></g></svg>\n'
    )


def badges(report: Report) -> dict[str, str]:
    """Return the badges of a report, by file name."""
    supported, places = len(report.decided("for")), report.standing.places
    state = ("red", RED) if report.red else ("green", GREEN)
    return {
        "supported.svg": badge("supported", f"{supported} of {places}", GREEN),
        "last-night.svg": badge("last night", f"{state[0]}, {report.night}", state[1]),
    }
