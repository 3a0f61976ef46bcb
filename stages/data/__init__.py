"""Data and tokens: reading tables and hub data sets, and the one tokenisation that every stage uses."""
