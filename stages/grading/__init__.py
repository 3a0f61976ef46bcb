"""Grading: the one definition of a correct answer, and the worker processes that apply it to hostile strings."""
