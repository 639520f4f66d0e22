"""`python -m distill.rank`: see `distill.inference.rank`."""

from distill.inference import cli
from distill.inference.rank import main

if __name__ == "__main__":
    cli.run(main)
