"""What the command line refuses."""


class CommandError(Exception):
    """Something that the user can mend: said on stderr, exit code 2."""
