"""A night of values instead of networks."""

from claims.nightly.night import Night
from claims.nightly.standing import Standing


def ran(history, places, source, night="2027-01-01", on_record=None):
    """Run one night; return its news."""
    standing = Standing(history, len(places))
    Night(
        history,
        standing,
        places,
        source,
        on_record=on_record or {},
        budget=60.0,
    ).run(night)
    return [row for row in history.rows("news") if row["night"] == night]
