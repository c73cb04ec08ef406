"""`python -m bench.cli`, where the folder of scripts is not on the path."""

from bench.cli import main

main(prog_name="bench")
