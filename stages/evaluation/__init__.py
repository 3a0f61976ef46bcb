"""Evaluation: generate and grade the problems of one benchmark, and the statistics of the grades."""
