"""The locks of requirements/, the indexes that they are installed from, and their audit."""
