"""What a person sees: results as JSON lines, the terminal's lines, HTML pages.

Reads results only; knows nothing of networks. ``python -m reports --help`` says how
they are shown, and `load` gives them as a table of pandas.
"""

from reports.frames import load, load_pairs

__all__ = ["load", "load_pairs"]
