"""Honest evaluation: splits, metrics, intervals, verdicts."""
