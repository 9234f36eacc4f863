"""`python -m rnnbptt` is the same as `rnnbptt`."""

from rnnbptt.cli.app import main

main()
