"""`python -m distill.classify`: see `distill.inference.classify`."""

from distill.inference import cli
from distill.inference.classify import main

if __name__ == "__main__":
    cli.run(main)
