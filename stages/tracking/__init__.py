"""W&B: what a process beside a worker records of its nodes, and what the head records of a whole study."""
