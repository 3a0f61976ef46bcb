"""The paper's figures 2 to 13, and ours, each drawn from artifacts alone.

`ALL` in `orchestrator.document.figures.gallery` lists them. A figure is a function of the `Material`; it raises
`Lacking` where what it shows is not published.
"""
