"""Pages about the project, and what writes those that are made of conf/: `python -m docs.recipe`."""
