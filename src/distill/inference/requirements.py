"""What a machine installs that only serves an exported folder: neither torch nor DVC, MLflow or datasets."""

from __future__ import annotations

from importlib import metadata

#: Distributions, which bring what they need themselves.
SERVING = (
    "fastapi",
    "filelock",
    "numpy",
    "onnxruntime",
    "pyarrow",
    "pydantic",
    "scipy",
    "tokenizers",
    "tqdm",
    "transformers",
    "uvicorn",
)


def pinned(exported: bool = True) -> list[str]:
    """The requirements of a model, at the versions that are installed here: `name==version`.

    Args:
        exported: whether the model is an exported folder; a checkpoint needs torch and safetensors, too.
    """
    names = SERVING if exported else (*SERVING, "safetensors", "torch")
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
