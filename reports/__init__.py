"""What a person sees: results as JSON lines, the terminal's lines, HTML pages.

Reads results only; knows nothing of networks. ``python -m reports --help``.
"""
