"""Memory while a long file is learned: flat, whatever its length.

    python -m benchmarks.learning.memory ../shared/data/avazu_sample.csv.gz --format avazu --rows 5000000

repeats a sample to so many rows, as one gzip file in a temporary folder, and runs ``sml evaluate`` on it.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path


def repeat(sample: Path, target: Path, rows: int, *, header: bool) -> None:
    """Write the rows of ``sample`` again and again, ``rows`` in all, under its header if it has one."""
    with gzip.open(sample, "rb") as source, gzip.open(target, "wb", compresslevel=1) as out:
        lines = source.readlines()
        if header:
            out.write(lines.pop(0))
        for begin in range(0, rows, len(lines)):
            out.writelines(islice(lines, rows - begin))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def watch(command: list[str], every: float) -> tuple[list[tuple[float, int]], str]:
    """Run a command; return its memory over time, (seconds, bytes), and what it printed."""
    begin = time.monotonic()
    seen: list[tuple[float, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while process.poll() is None:
            seen.append((time.monotonic() - begin, resident_bytes(process.pid)))
            time.sleep(every)
        printed = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{command} ended with status {process.returncode}")
    return seen, printed


def main() -> None:
    """Print the memory at each tenth of the run, then the output of ``sml evaluate``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--format", required=True, choices=["avazu", "criteo"])
    parser.add_argument("--rows", type=int, default=5_000_000)
    options = parser.parse_args()
    sml = [sys.executable, "-m", "service"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings, long = folder / "sml.toml", folder / f"long{''.join(options.sample.suffixes)}"
        repeat(options.sample, long, options.rows, header=options.format == "avazu")
        subprocess.run([*sml, "init", str(options.sample), "--format", options.format, "-o", str(settings)], check=True)
        seen, printed = watch([*sml, "evaluate", str(long), "--config", str(settings), "--json"], every=0.5)
    for tenth in range(1, 11):
        seconds, resident = seen[len(seen) * tenth // 10 - 1]
        print(f"{tenth * 10:4d} %  {seconds:6.0f} s  {resident / 1e6:6.0f} MB")
    print(json.dumps(json.loads(printed.splitlines()[-1])))


if __name__ == "__main__":
    main()
