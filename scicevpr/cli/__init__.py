"""The `scicevpr` command: its commands, their options and what they do."""
