"""The head: compose -> graph -> plan -> run -> report. Light: torch and transformers are never imported here."""
