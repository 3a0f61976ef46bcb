"""Forecast: what a plan knows before anything is spent: memory of the GPUs, hours, disk, and what cannot work.

    shape.py       a model by its dimensions: parameters, bytes of KV cache, elements of activations
    checkpoint.py  what the files beside the weights say of a model and its tokenizer
    placement.py   on how many GPUs and processes a node runs
    memory.py      bytes of a GPU that a node needs, each with its arithmetic
    remedy.py      other resources, with which a node that does not fit would
    work.py        floating-point operations of a node
    duration.py    how long those take: by records of the past, else by the GPU's speed
    disk.py        what the store grows by, in the order in which nodes are published
    refusal.py     what is refused before anything is submitted
    outlook.py     all of it for one plan; text.py: how it is shown

Nothing here loads a model or its libraries. What is not known is said to be unknown, and refuses nothing.
"""
