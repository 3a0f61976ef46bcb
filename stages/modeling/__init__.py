"""Models and tokenizers on disk: loading any input, saving a checkpoint artifact."""
