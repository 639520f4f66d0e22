"""A model for `mlflow.pyfunc`: MLflow runs this file when it loads one ("models from code"), and pickles nothing.

Input: a table with the verb's fields as columns. Output: a table with a row for each, `error` where it has no answer.
"""

from __future__ import annotations

import mlflow.models
import mlflow.pyfunc
import pandas as pd

from distill.errors import UserError
from distill.inference import verbs
from distill.inference.lines import ask_each


class PyfuncModel(mlflow.pyfunc.PythonModel):
    """An exported folder, or a checkpoint, as artifact `model`; `model_config` says whether by its int8 model."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Load the model."""
        self._model = verbs.load_model(context.artifacts["model"], (context.model_config or {}).get("int8", False))
        self._verb = verbs.of_task(self._model.settings.task)[0]

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """The answers of rows.

        Raises:
            UserError: a column is missing.
        """
        verb = self._verb
        if missing := [name for name, field in verb.fields.items() if field.required and name not in model_input]:
            raise UserError(f"column {missing[0]}: missing among {', '.join(map(str, model_input.columns))}: add it")
        known = [name for name in verb.fields if name in model_input]
        given = model_input[known].to_dict("records")
        rows = [{name: value for name, value in row.items() if not _is_missing(value)} for row in given]
        problems = [verb.problem(row) for row in rows]
        good = [row for row, problem in zip(rows, problems, strict=True) if problem is None]
        results = iter(ask_each(good, lambda asked: verb.ask(self._model, asked)))
        cells = []
        for problem in problems:
            result = next(results) if problem is None else UserError(problem)
            cells.append({"error": str(result)} if isinstance(result, UserError) else verb.cells(result))
        columns = [*verb.columns(self._model.settings), "error"]
        values = {name: [row.get(name) for row in cells] for name in columns}
        return pd.DataFrame(values, index=model_input.index).replace({"error": {float("nan"): None}})


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


mlflow.models.set_model(PyfuncModel())
