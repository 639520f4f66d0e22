"""`python -m distill.tag`: see `distill.inference.tag`."""

from distill.inference import cli
from distill.inference.tag import main

if __name__ == "__main__":
    cli.run(main)
