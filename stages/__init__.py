"""What to run: one light module per stage (its contract), heavy code in the folders below."""
