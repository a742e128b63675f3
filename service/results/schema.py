"""The type of what each command prints with ``--json``, and the JSON Schema that ``sml schema`` makes of it.

A result that has a type of its own (a report, a finding, a line of a benchmark) is described by that. Times are epoch ms.
"""

from collections.abc import Mapping
from pkgutil import resolve_name
from types import GenericAlias
from typing import Any, NamedTuple, get_type_hints

import msgspec

from experiments.report import Report
from service.doctor.finding import Finding
from service.results.learned import (
    ArmProgress,
    Comparison,
    Decision,
    Evaluated,
    Explained,
    Exported,
    Imported,
    Learned,
    Ordered,
    Predicted,
    Rebuilt,
    RolledBack,
    Shares,
    Snapshot,
    VerifiedFile,
)
from service.results.stored import CreatedKey, DeadLetter, DeadLetters, Forgotten, Key, Place, Replayed, Simulated
from stream.dead_letters import Retried
from stream.schema import json_schema


def objects_of(kind: type[NamedTuple]) -> Any:
    """Return the type of objects with the fields of a named tuple, as ``_asdict`` gives them."""
    return msgspec.defstruct(kind.__name__, list(get_type_hints(kind).items()), namespace={"__doc__": kind.__doc__})


RESULTS: Mapping[str, Any] = {
    "topics create": dict[str, bool],
    "topics update": dict[str, str],
    "arms list": (list[ArmProgress], list[Decision]),  # the second with --decisions
    "arms start": Shares,
    "arms stop": Shares,
    "arms promote": Shares,
    "arms retire": Shares,
    "snapshots list": list[Snapshot],
    "snapshots verify": list[VerifiedFile],
    "snapshots rollback": RolledBack,
    "snapshots approve": Ordered,
    "snapshots hold": Ordered,
    "rebuild": Rebuilt,
    "dead-letters list": list[DeadLetters],
    "dead-letters show": DeadLetter,
    "dead-letters retry": objects_of(Retried),
    "keys create": CreatedKey,
    "keys list": list[Key],
    "keys revoke": Key,
    "experiment report": Report,
    "forget": (Forgotten, list[Place]),  # the second with --verify
    "learn": (Learned, list[Learned]),  # the second with --arms
    "replay": Replayed,
    "evaluate": Evaluated,
    "compare": Comparison,
    "predict": Predicted,
    "explain": Explained,
    "export": Exported,
    "import": Imported,
    "simulate": Simulated,
    "doctor": GenericAlias(list, (objects_of(Finding),)),
    # Of what may be missing here, such as torch; of lines that the command prints.
    "bench step": "service.bench.step:StepSpeed",
    "bench table": "service.bench.table:TableSpeed",
    "bench learn": "service.bench.learn:LearnSpeed",
    "bench predict": "service.bench.predict:PredictSpeed",
    "bench publish": "service.bench.publish:Freshness",
    "reproduce": "paper.reproduce:Done",
}


def schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what a command, one of :data:`RESULTS`, prints with ``--json``.

    >>> schema("topics create")["additionalProperties"]
    {'type': 'boolean'}
    """
    kind = RESULTS[command]
    if isinstance(kind, str):
        kind = objects_of(resolve_name(kind))
        kind = kind if command == "reproduce" else GenericAlias(list, (kind,))
    return json_schema(f"sml {command} --json", kind if isinstance(kind, tuple) else (kind,))
