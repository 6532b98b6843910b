"""Figures that can be checked: each module is a command that measures and writes rows of one form."""
