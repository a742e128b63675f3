"""The same events give the same bits in every process, whatever it compiled, loaded or called before."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from model.kernels import matrix, target

_PROGRAM = """
import sys
from pathlib import Path
import numba
import numpy as np
from model.compiled import compiling
from model.kernels import matrix, target
from model.encoding.features import Encoder
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings

if "apart" in sys.argv:
    one, apart = np.ones(2, np.float32), numba.njit(lambda w, s, g, a, x: matrix.learn_and_pass(w, s, g, a, x))
    apart(np.zeros(4, np.float32), one, one, np.arange(2), one.copy())
if "compile" in sys.argv:
    for _ in compiling("dnn"):
        pass
kept = len(list(Path(target.config.CACHE_DIR).rglob("*.nbc")))

spec = Spec(model=ModelSettings(hidden=(8, 4), embedding=4), table=TableSettings(capacity=64), fields=(Field(name="a"), Field(name="b")))
model, random = OnlineModel(spec), np.random.default_rng(0)
examples = [{"a": int(random.integers(50)), "b": int(random.integers(50))} for _ in range(500)]
features, _ = Encoder(spec.fields).encode(examples, times=[0] * 500)
if "predict" in sys.argv:
    model.weights.predict(features)
model.learn(features, (random.random(500) < 0.3).astype(np.float32))
model.learn(features, np.zeros(500, np.float32), np.full(500, np.inf, np.float32))
print(model.digest(), len(list(Path(target.config.CACHE_DIR).rglob("*.nbc"))) - kept)
"""


def test_kernels_compiled_ahead_are_all_and_give_the_same_bits_as_kernels_loaded(tmp_path: Path) -> None:
    def digest(*before: str) -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.run([sys.executable, "-c", _PROGRAM, *before], env=environment, check=True, capture_output=True, text=True).stdout

    compiled = digest("apart", "compile")  # into an empty cache

    assert compiled.endswith(" 0\n")  # none was left to be compiled
    assert {digest(), digest("apart"), digest("predict")} == {compiled}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the instructions are those of x86")
def test_no_root_and_no_quotient_is_taken_by_the_processors_estimates() -> None:
    """The maker chooses their bits, so the same events would give other weights on Intel's processors than on AMD's."""
    learn: Any = numba.njit(**{**target._FLAGS, "cache": False})(matrix.learn_vector.py_func)  # type: ignore[attr-defined]

    learn(*np.ones((3, 64), np.float32), np.float32(1))

    instructions = learn.inspect_asm(learn.signatures[0])
    assert "vsqrtps" in instructions
    assert not re.search(r"rsqrt|vrcp", instructions)
