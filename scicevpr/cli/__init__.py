"""The `scicevpr` command: one file a command, its options and what it does."""
