"""Benchmarks, run by hand: each prints a table of ratios against named peers, measured in the same run."""
