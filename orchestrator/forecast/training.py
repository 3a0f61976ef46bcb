"""Memory of a training on each of its GPUs. P parameters, W processes, B sequences of T tokens at once on a device.

With parameters of b bytes (4: float32 master weights, 2: bfloat16) and products of c bytes:

    weights, gradients   b P each, Adam's two moments 2 b P; each over W with fsdp2 (ZeRO, arXiv 1910.02054, section 3).
                         Where a step has several micro-batches, fsdp2 reduces the gradients with the last of them:
                         until then each device has all of them, 4 P, in the dtype in which they are summed up
    buckets of DDP       b P more, where W > 1 and nothing is sharded (`gradient_as_bucket_view` is off)
    copies               fsdp2: c bytes a parameter of two layers (at work, and on its way) and both embeddings, and
                         c + 4 of the gradients of one layer, on their way to be reduced. none: c P, which autocast
                         keeps for the backward pass, where c < b
    activations          with checkpointing s B T d a layer, its input (arXiv 1604.06174), and one layer whole, twice:
                         its activations and their gradients. Without, all layers whole. A whole layer keeps of a token
                         2 (4 + s) d of two norms, n c d of what reads them (n = 2, but 5 under autocast, which casts
                         for each product), 4 c q of queries, repeated keys and values and their mix, 4 c m of the MLP,
                         c T of the mask of padding and 4 h + 8 of statistics (arXiv 2205.05198 counts a GPT likewise)
    head                 TRL 1.16 never has the B T V logits: a tile of 4096 tokens x 32768 of the vocabulary, c bytes
                         each, the last hidden states with their float32 gradient, the float32 gradient of the matrix

d is the width, q that of all h query heads, m that of the MLP, s the bytes of the residual stream: c with fsdp2, which
casts parameters; b under autocast, which casts only what enters a product.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.forecast.load import RESERVE, Part
from orchestrator.forecast.shape import BYTES, Shape

#: Tokens and columns of the tile in which TRL computes log-probabilities (trl.kernels.chunked_logprob; trl.trainer).
TILE = (4096, 32768)


@dataclass(frozen=True, kw_only=True)
class Step:
    """An optimizer step: `world` processes, each `micro_batches` times with `sequences` of `length` tokens."""

    shape: Shape
    world: int
    sharded: bool
    dtype: str
    compute_dtype: str
    sequences: int
    length: int
    checkpointing: bool
    micro_batches: int = 1

    @property
    def share(self) -> int:
        """Into how many parts weights, gradients and moments are cut."""
        return self.world if self.sharded else 1

    @property
    def tokens(self) -> int:
        return self.sequences * self.length

    @property
    def stream(self) -> int:
        """Bytes of an element of the residual stream."""
        return BYTES[self.compute_dtype if self.sharded else self.dtype]


def state(step: Step) -> list[Part]:
    """What is there all the time: weights and Adam's moments."""
    size = BYTES[step.dtype]
    name = "master weights" if step.dtype != step.compute_dtype else "weights"
    return [_of_all(step, name, size), _of_all(step, "Adam's moments", 2 * size)]


def reference(step: Step) -> Part:
    """The frozen policy of the KL term, in the policy's dtype, and sharded like it."""
    return _of_all(step, "reference", BYTES[step.dtype])


def working(step: Step) -> list[Part]:
    """What a step has besides: gradients, copies, activations, head, reserve."""
    parameters, size, compute = step.shape.parameters, BYTES[step.dtype], BYTES[step.compute_dtype]
    parts = [_of_all(step, "gradients", size)]
    if step.share > 1 and step.micro_batches > 1:
        parts.append(Part(what="gradients that are not reduced yet", bytes=4 * parameters, how="4P", exact=True))
    if step.world > 1 and not step.sharded:
        parts.append(Part(what="buckets of DDP", bytes=size * parameters, how=f"{size}P", exact=True))
    parts += [*_copies(step, compute), _activations(step, compute), _head(step, compute), reserve()]
    return parts


def whole(step: Step, what: str) -> Part:
    """A model as it is loaded, before it is cut."""
    size = BYTES[step.dtype]
    return Part(what=what, bytes=size * step.shape.parameters, how=f"{size}P", exact=True)


def reserve() -> Part:
    return Part(what="reserve", bytes=RESERVE, how="context, NCCL, fragmentation")


def whole_layer(shape: Shape, length: int, stream: int, compute: int) -> int:
    """Bytes that a layer keeps of one token, in sequences of `length`, for its backward pass."""
    read = (5 if stream > compute else 2) * compute
    norms = (2 * (4 + stream) + read) * shape.width
    return norms + 4 * compute * (shape.query + shape.mlp) + compute * length + 4 * shape.heads + 8


def _of_all(step: Step, what: str, size: int) -> Part:
    over = f" / {step.share}" if step.share > 1 else ""
    return Part(what=what, bytes=size * step.shape.parameters / step.share, how=f"{size}P{over}", exact=True)


def _copies(step: Step, compute: int) -> list[Part]:
    """Parameters in the dtype of the products."""
    shape, size = step.shape, BYTES[step.dtype]
    if step.share > 1:
        ends = 1 if shape.tied else 2
        held = compute * (2 * shape.layer + ends * shape.embedding) + (compute + 4) * shape.layer
        how = f"{compute} x (2 layers + {ends} embeddings) + {compute + 4} x 1 layer"
        return [Part(what="gathered", bytes=held, how=how)]
    if compute < size:
        return [Part(what="copies of autocast", bytes=compute * shape.parameters, how=f"{compute}P")]
    return []


def _activations(step: Step, compute: int) -> Part:
    shape, tokens = step.shape, step.tokens
    whole = whole_layer(shape, step.length, step.stream, compute)
    many = f"{step.sequences} x {step.length} tokens"
    if not step.checkpointing:
        how = f"{many} x {shape.layers} layers x {whole:,} bytes"
        return Part(what="activations", bytes=tokens * shape.layers * whole, how=how)
    kept = step.stream * shape.width
    how = f"{many} x ({shape.layers} layers x {kept:,} + 2 x {whole:,} bytes)"
    return Part(what="activations", bytes=tokens * (shape.layers * kept + 2 * whole), how=how)


def _head(step: Step, compute: int) -> Part:
    shape, tokens = step.shape, step.tokens
    tile = compute * min(tokens, TILE[0]) * TILE[1]
    held = tile + tokens * shape.width * (compute + 4) + 4 * shape.embedding
    how = f"{tile / 2**20:.0f} MiB tile + hidden states + {4} x {shape.embedding:,}"
    return Part(what="head", bytes=held, how=how)
