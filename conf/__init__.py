"""Data only: the experiments and everything they are composed of."""
