"""The command line's options. Nothing heavy is imported here, so that `scicevpr --help` answers at once."""
