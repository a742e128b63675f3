"""An exported model as MLflow's ``pyfunc``: MLflow runs this file where it loads the model."""

import time
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ClickProbability(PythonModel):
    """Predicts by the ONNX model among the artifacts."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model and its encoder."""
        import onnxruntime  # noqa: PLC0415 - MLflow reads this file to save the model, too
        from sml_encoder import RowEncoder  # noqa: PLC0415 - among the model's own code

        folder = context.artifacts["model"]
        self.encoder = RowEncoder.load(folder)
        self.session = onnxruntime.InferenceSession(f"{folder}/model.onnx")

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Return the click probability of each row; its columns are features, and ``time``, epoch ms (default: now)."""
        del context, params
        rows = model_input.to_dict("records")
        now = int(time.time() * 1000)
        inputs = self.encoder.encode(rows, [int(row.get("time", now)) for row in rows])
        (probabilities,) = self.session.run(None, inputs._asdict())
        return probabilities


set_model(ClickProbability())
