"""Faults done to real processes, judged by what their client saw. `python -m benchmarks.faults --help`"""
