"""Overlap: which problems of a benchmark have words in common with what is trained on."""
