"""How Sphinx builds the site: ``make docs``."""

import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from docs.catalogue import write  # noqa: E402
from reports import page  # noqa: E402
from reports.coverage import RECORDS, read_newest  # noqa: E402

project = "linear-mode-connectivity"
version = release = metadata.version(project)
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["out", "tests"]
html_theme = "furo"
html_title = project
html_extra_path = ["generated/beside"]

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False


def setup(app: Sphinx) -> None:
    """Write what is made of other files before anything is read."""
    write(HERE / "generated" / "claims.md")
    results = read_newest(sorted(RECORDS.glob("*.jsonl")))
    page.write(HERE / "generated" / "beside" / "record", results)
