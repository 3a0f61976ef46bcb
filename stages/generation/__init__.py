"""Generation: one protocol, two engines (transformers and vLLM), token ids in and completions out."""
