"""The world of the embedded study: arithmetic text to pretrain on, problems, and a tokenizer trained on both."""
