"""The report of a study as a document: one HTML file that needs nothing else, the same as Markdown, tables and figures.

What it says is plain data first (`blocks`), made from the artifacts alone (`artifacts`), section by section; how that
looks in HTML, Markdown and LaTeX is each a file of its own. What cannot be made yet says why, and which command makes
it.
"""
