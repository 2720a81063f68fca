"""What a person sees: results as JSON lines, the terminal's lines, the HTML page.

Reads results only; knows nothing of networks. ``python -m reports --help``.
"""
