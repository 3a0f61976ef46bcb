"""Memory of an engine that generates, on each GPU that holds a part of a copy of its model.

vLLM takes a share of the GPU's memory, whatever it needs: weights, then what a step of it needs; all that is left is KV
cache. It starts only if the cache holds one sequence of full length. A token has 2 x layers x key heads x their width
elements of it (keys and values; arXiv 2309.06180, section 2).
"""

from __future__ import annotations

from orchestrator.forecast.load import Load, Part
from orchestrator.forecast.shape import BYTES, Shape
from orchestrator.forecast.training import reserve

#: Share of a GPU that vLLM takes where nobody says another (its default, 0.32).
VLLM_SHARE = 0.92
#: Of an engine: CUDA graphs, and activations of a step of 4096 tokens. An assumption.
ENGINE = 1.5e9
#: Float32 copies of the logits of a step while transformers samples from them.
LOGITS = 3


def vllm(shape: Shape, dtype: str, *, length: int, tensor_parallel: int = 1, share: float, where: str) -> Load:
    """A vLLM engine that has `share` of each of its GPUs, for sequences of `length` tokens."""
    over = f" / {tensor_parallel}" if tensor_parallel > 1 else ""
    cache = shape.cache(dtype) * length / tensor_parallel
    weights = BYTES[dtype] * shape.parameters / tensor_parallel
    parts = (
        Part(what="weights", bytes=weights, how=f"{BYTES[dtype]}P{over}", exact=True),
        Part(what="KV cache of one sequence", bytes=cache, how=f"{length} x {shape.cache(dtype):,} bytes{over}"),
        Part(what="graphs and activations", bytes=ENGINE, how="of an engine"),
    )
    return Load(where=where, parts=parts, share=share, each=f"sequences of {length} tokens", room=cache)


def cache_of_rows(shape: Shape, dtype: str, rows: int, length: int) -> list[Part]:
    """What generation with transformers has beside the weights: the cache of all rows, and their logits."""
    return [
        Part(
            what="KV cache",
            bytes=shape.cache(dtype) * rows * length,
            how=f"{rows} x {length} tokens x {shape.cache(dtype):,} bytes",
        ),
        Part(
            what="logits",
            bytes=LOGITS * 4 * rows * shape.vocabulary,
            how=f"{LOGITS} x 4 x {rows} x {shape.vocabulary:,}",
        ),
    ]


def transformers(shape: Shape, dtype: str, rows: int, length: int, where: str) -> Load:
    """A model that generates `rows` sequences of `length` tokens together."""
    weights = Part(what="weights", bytes=BYTES[dtype] * shape.parameters, how=f"{BYTES[dtype]}P", exact=True)
    return Load(where=where, parts=(weights, *cache_of_rows(shape, dtype, rows, length), reserve()))
