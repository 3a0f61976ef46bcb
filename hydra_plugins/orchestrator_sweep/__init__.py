"""Hydra plugins: a sweep is one graph, and is counted before it is composed. Hydra finds them by their place.

Hydra executes these modules before they are in `sys.modules`, where dataclasses look up annotations that are text: so
there is no `from __future__ import annotations` here.
"""
