"""Tests, in the tree of the code."""
