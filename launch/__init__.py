"""Where to run: in this process, in processes of this machine (and, later, on Slurm). Knows no science."""
