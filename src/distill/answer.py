"""`python -m distill.answer`: see `distill.inference.answer`."""

from distill.inference import cli
from distill.inference.answer import main

if __name__ == "__main__":
    cli.run(main)
