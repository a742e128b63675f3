"""The model card of an exported model: what it predicts, what it learned from, how to use it, and what it is not for."""

from typing import Any

from stream.records.times import in_utc

_USE = {
    "safetensors": """import json
from safetensors.numpy import load_file

parameters = load_file("model.safetensors")  # by name; the rows of the table under table.*, by ascending key""",
    "torch": """import torch
from sml_encoder import RowEncoder

model = torch.export.load("model.pt2").module()
inputs = RowEncoder.load(".").encode([{"user": "u17"}], times=[1_760_000_000_000])
probabilities = model(*map(torch.from_numpy, inputs))""",
    "onnx": """import onnxruntime
from sml_encoder import RowEncoder

model = onnxruntime.InferenceSession("model.onnx")
inputs = RowEncoder.load(".").encode([{"user": "u17"}], times=[1_760_000_000_000])
(probabilities,) = model.run(None, inputs._asdict())""",
    "mlflow": """import mlflow.pyfunc
import pandas

model = mlflow.pyfunc.load_model(".")
probabilities = model.predict(pandas.DataFrame([{"user": "u17", "time": 1_760_000_000_000}]))""",
}


def model_card(described: dict[str, Any], form: str) -> str:
    """Return the card, Markdown; ``described`` is the content of ``model.json``."""
    spec, model = described["spec"], described["spec"]["model"]
    through = described["trained_through"]
    until = "nothing" if through is None else in_utc(through)
    records = ", and of each value's own click rate," if model["records"] else ""
    fields = "\n".join(f"| `{field['name']}` | {field['kind']} |" for field in spec["fields"])
    return f"""# Click probability, version {described["version"]}

| | |
| --- | --- |
| network | `{model["network"]}`, skip term `{model["skip"]}`, hidden layers {model["hidden"]}, embeddings of {model["embedding"]} |
| learned from | {described["examples"]:,} examples, the last of {until} |
| digest | `{described["digest"]}` |
| labels | `{spec["label_policy"]}` |

It predicts the probability that an impression is clicked, from the features below{records} and the time of the impression.

| field | kind |
| --- | --- |
{fields}

## Use

```python
{_USE[form]}
```

A feature that is absent, null, empty or NaN is missing, which is a value of its own. Times are epoch milliseconds.

## Limits

The model has stopped learning: it knows nothing that happened after its last example, and its records stand still. The server, which goes
on learning, is right for longer. It learned from impressions that were chosen by somebody: for items that were never shown it predicts
little more than the base rate. Its rows hold hashes of values, not the values; whoever knows a value can tell whether it was seen, so treat
the files as personal data where the values are.
"""
