"""Diagnosis: what differs between two checkpoints, in their weights, their outputs and the loss around them."""
