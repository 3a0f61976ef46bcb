"""Training with TRL: supervised fine-tuning and reinforcement learning."""
