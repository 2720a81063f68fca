"""The command line without the console script: ``python -m lmc --help``."""

from lmc.command import program

program()
