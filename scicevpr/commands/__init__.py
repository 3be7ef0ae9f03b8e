"""What each subcommand of `scicevpr` does: read the options, call the library, show the result.

Results go to standard output, progress and notes to standard error. The options stand in scicevpr.parsers.
"""
