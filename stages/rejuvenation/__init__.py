"""Rejuvenation (section 3 of the paper): which neurons made a checkpoint over-confident, and how they are reset."""
