"""`python -m ssmc` is `ssmc`."""

from ssmc.cli.main import main

main()
