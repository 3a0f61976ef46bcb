"""Forecast: what a plan knows before anything is spent: memory of the GPUs, hours, disk, and what cannot work.

    shape.py                a model by its dimensions: parameters, KV cache, neurons
    checkpoint.py, rows.py  what small files say of a model and its tokenizer; how many rows a data source has
    placement.py            on how many processes and GPUs a node runs
    load.py                 what a GPU holds: parts, each with its arithmetic
    training.py, engine.py  the formulas; memory.py: which of them a node of each stage needs
    remedy.py               other resources, with which a node that does not fit would
    work.py, duration.py    operations of a node; how long they take, by records or by the speed of the GPUs
    disk.py                 what the store grows by, in the order in which nodes run
    outlook.py, text.py     all of it for one plan; how a person sees it
    misfit.py, mismatch.py  what cannot run so; what is not of one another
    verdict.py              what plan and run refuse

Nothing here loads a model or its libraries. What is not known is said to be unknown, and refuses nothing.
"""
