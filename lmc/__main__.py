"""The command line: ``python -m lmc --help``."""

import sys

from lmc.command import main

sys.exit(main())
