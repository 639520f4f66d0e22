"""`python -m distill.serve`: see `distill.inference.serving.command`."""

from distill.inference import cli
from distill.inference.serving.command import main

if __name__ == "__main__":
    cli.run(main)
