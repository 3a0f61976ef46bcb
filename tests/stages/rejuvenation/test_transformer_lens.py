"""The exact scores against TransformerLens' direct logit attribution, on checkpoints that both load.

Its decomposition stops at heads for attention and at neurons for the MLP: a head's attribution is the sum of the
scores of o_proj's inputs that belong to it, a neuron's that of one input of down_proj.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.rejuvenation import architecture, attribution
from stages.rejuvenation.packing import Passage
from tests import tiny_models

lens = pytest.importorskip("transformer_lens", reason="TransformerLens is not installed (pip install transformer-lens)")

IDS = [5, 60, 7, 81, 9, 100, 11]
T = 4
LAYERS = 2


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any, Any]:
    """Our scores of one target by module, and TransformerLens' model with its cache."""
    folder = tiny_models.base(tmp_path_factory.mktemp("lens") / "model", request.param)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    modules = architecture.modules(shapes, LAYERS)
    found = attribution.attribute(model, modules, [Passage(IDS, [T], [IDS[T + 1]])])
    parts = found.scores_NM[0].split([module.neurons for module in modules])
    bridge = lens.TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    bridge.eval()
    # the norms' gains go into the weights, as its attribution needs it; nothing else is changed
    bridge.enable_compatibility_mode(center_writing_weights=False, center_unembed=False, fold_value_biases=False)
    _, cache = bridge.run_with_cache(torch.tensor([IDS]))
    return {module.name: part for module, part in zip(modules, parts, strict=True)}, bridge, cache


def test_components_and_heads_agree(both: tuple[dict[str, Any], Any, Any]) -> None:
    from transformer_lens.tools.analysis.direct_logit_attribution import direct_logit_attribution

    scores, bridge, cache = both
    answer = torch.tensor([IDS[T + 1]])
    for unit in ("component", "head"):
        result = direct_logit_attribution(bridge, answer_tokens=answer, cache=cache, unit=unit, pos=T)
        found = dict(zip(result.labels, result.attribution.flatten().tolist(), strict=True))
        for layer in range(LAYERS):
            mixed = scores[f"model.layers.{layer}.self_attn.o_proj"]
            if unit == "component":
                written = scores[f"model.layers.{layer}.mlp.down_proj"]
                assert float(mixed.sum()) == pytest.approx(found[f"{layer}_attn_out"], rel=1e-4, abs=1e-5)
                assert float(written.sum()) == pytest.approx(found[f"{layer}_mlp_out"], rel=1e-4, abs=1e-5)
            else:
                heads = mixed.unflatten(0, (bridge.cfg.n_heads, -1)).sum(1).tolist()
                assert heads == pytest.approx([found[f"L{layer}H{h}"] for h in range(len(heads))], rel=1e-4, abs=1e-5)


def test_neurons_of_the_mlp_agree(both: tuple[dict[str, Any], Any, Any]) -> None:
    scores, _, cache = both
    stack = cache.stack_neuron_results(layer=-1, pos_slice=T)
    found = cache.logit_attrs(stack, tokens=torch.tensor([IDS[T + 1]]), pos_slice=T).flatten()
    ours = torch.cat([scores[f"model.layers.{layer}.mlp.down_proj"] for layer in range(LAYERS)])
    assert torch.allclose(ours, found, rtol=1e-4, atol=1e-5)
