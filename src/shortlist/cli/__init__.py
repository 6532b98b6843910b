"""The command line: the only code that reads arguments, prints and decides exit codes.

One file a command. Heavy imports stand inside the commands, so that `shortlist --help` answers at once.
"""

from shortlist.cli.app import main

__all__ = ["main"]
