"""``sml join --engine flink``: the same join as a job of Flink's, on this machine; deploy/flink/README.md has it on a cluster.

The job reads and writes Kafka, keeps the state, and starts ``sml join-task`` for each of its slots, which joins as ``sml join`` does.
"""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import typer
from prometheus_client import CollectorRegistry
from xxhash import xxh3_64_hexdigest

import service
from service.listen import PortTakenError
from service.metrics_server import exposed
from service.settings import Settings, SettingsError
from service.signals import stop_signals
from stream.flink.kafka_properties import kafka_properties
from stream.flink.ownership import Ownership, give_back, take_over
from stream.flink.task import Task
from stream.join.metrics import JoinerMetrics
from stream.join.share import job_of, joiner_of
from stream.log.connect import open_log
from stream.log.contract import LogError

logger = logging.getLogger(__name__)

FOLDER = Path(service.__file__).parent / "flink"
JARS = Path(".flink/lib")
CHECKPOINTS = Path("data/flink/checkpoints")
# What Flink's own scripts open to it, as far as this job needs it.
OPENED = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.lang", "java.util", "java.time", "java.net")]
_MOST_SLOTS = 64  # of a machine, that have a port for their metrics
_JOB = "sml-join-*.jar"  # the job's own jar; the star stands for the digest of its sources


class FlinkError(LogError):
    """The job can't be started, or has failed."""


def join_on_flink(settings: Settings, config: Path) -> None:
    """Join on this machine until SIGINT or SIGTERM, from the last checkpoint on.

    Raises:
        FlinkError: there is no Java, or the job has failed.
        SettingsError: these settings are not for Flink.
    """
    check(settings)
    build(JARS)
    with open_log(settings.log) as log:
        slots = min(len(log.bounds(settings.topics.impressions)), os.cpu_count() or 1)
    checkpoints = CHECKPOINTS / settings.log.prefix
    options = {
        "parallelism.default": str(slots),
        "execution.checkpointing.interval": "1s",
        "execution.checkpointing.dir": checkpoints.resolve().as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    }
    if newest := newest_checkpoint(checkpoints):
        options["execution.state-recovery.path"] = newest.resolve().as_uri()
    command = java(JARS, "sml.JoinJob", options, task_command(config))
    with stop_signals() as stop, subprocess.Popen(command) as job:  # noqa: S603 - our own command
        while job.poll() is None and not stop.wait(0.1):
            pass
        if job.poll() is None:
            job.terminate()
    if newest_checkpoint(checkpoints) is None:  # so it has committed nothing
        with open_log(settings.log) as log:
            give_back(log, settings.topics)
    if job.returncode and not stop.is_set():
        raise FlinkError(f"the job has ended with status {job.returncode}: see above")


def join_task(settings: Settings, token: str) -> None:
    """Join what a job sends by stdin, and answer by stdout, for as long as the job's name is held by ``token``."""
    registry = CollectorRegistry()
    with _exposed(registry, settings), open_log(settings.log) as log:
        owner, metrics = Ownership(log, job_of(settings.topics), token), JoinerMetrics(registry)
        task = Task(log, settings.topics, settings.join, sys.stdout.buffer, owner.check, metrics, with_heartbeats=True)
        task.run(sys.stdin.buffer)


def print_plan(settings: Settings) -> None:
    """Take over from whoever joins, and print what the job must know, as Java's properties.

    Raises:
        JoinerError: the topics don't fit each other, or the log does not fit the progress.
        SettingsError: these settings are not for Flink.
    """
    check(settings)
    topics = settings.topics
    with open_log(settings.log) as log:
        token = take_over(log, topics, settings.join)
        partitions = len(log.bounds(topics.impressions))
    plan = {
        "topics": f"{topics.impressions},{topics.clicks}",
        "partitions": str(partitions),
        "group": joiner_of(topics),
        "name": job_of(topics),
        "token": token,
    } | {f"kafka.{name}": value for name, value in kafka_properties(settings.log).items()}
    for name, value in plan.items():
        typer.echo(f"{name}={value}".replace("\\", "\\\\").encode("unicode_escape").decode())


@contextmanager
def _exposed(registry: CollectorRegistry, settings: Settings) -> Iterator[None]:
    """Serve the metrics at the first port, from [join] metrics_port on, that no other slot of this machine has."""
    with ExitStack() as stack:
        for port in range(settings.join.metrics_port, settings.join.metrics_port + _MOST_SLOTS):
            of_slot = settings.model_copy(update={"join": settings.join.model_copy(update={"metrics_port": port})})
            with suppress(PortTakenError):
                stack.enter_context(exposed(registry, of_slot, "join"))
                break
        else:
            logger.warning("no port from join.metrics_port = %s on is free: this task has no metrics", settings.join.metrics_port)
        yield


def check(settings: Settings) -> None:
    """Make sure that the settings are for Flink.

    Raises:
        SettingsError: they are not.
    """
    if settings.log.embedded:
        raise SettingsError(f"log.url: got {settings.log.url!r}, expected kafka://…: Flink reads no file of ours")
    if settings.join.rekey:
        raise SettingsError(
            "join.rekey: got true, expected false: on Flink, impressions and clicks are keyed by the impression's id already"
        )


def build(jars: Path) -> None:
    """Fetch Flink's jars by Maven and compile the job, once, and again when its sources have changed.

    Raises:
        FlinkError: a tool is missing, or fails.
    """
    sources = sorted(each for each in FOLDER.rglob("*") if each.suffix in {".java", ".xml"})
    digest = xxh3_64_hexdigest(b"".join(each.read_bytes() for each in sources))
    job = jars / _JOB.replace("*", digest)
    if job.exists():
        return
    for tool in ("java", "javac", "jar", "mvn"):
        if shutil.which(tool) is None:
            raise FlinkError(f"--engine flink needs a JDK of version 17 and Maven, once: no {tool} found")
    classes = jars.parent / "classes"
    if not any(jars.glob(_JOB)):
        typer.echo(f"fetching Flink and its Kafka connector into {jars}, 150 MB by Maven; this is done once", err=True)
    try:
        _call("mvn", "-q", "-B", "-f", str(FOLDER / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={jars.resolve()}")
    except FlinkError as error:
        raise FlinkError(f"{error}; without the network, copy {jars} from a machine that has it") from error
    _call("javac", "-nowarn", "-d", str(classes), "-cp", f"{jars}/*", *(str(each) for each in sources if each.suffix == ".java"))
    _call("jar", "--create", "--file", f"{job}.new", "-C", str(classes), ".")
    for older in jars.glob(_JOB):
        older.unlink()
    Path(f"{job}.new").rename(job)


def java(jars: Path, main: str, options: dict[str, str], arguments: list[str]) -> list[str]:
    """Return the command that runs a class of the jars, with Flink's options."""
    logging_options = [f"-Dlog4j2.configurationFile={FOLDER / 'log4j2.properties'}"]
    given = [f"-D{name}={value}" for name, value in options.items()]
    return ["java", *OPENED, *logging_options, "-cp", f"{jars}/*", main, *given, *arguments]


def task_command(config: Path) -> list[str]:
    """Return the command that starts a task, here."""
    return [sys.executable, "-m", service.__name__, "join-task", "--config", str(config.resolve())]


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole, if there is one."""
    whole = sorted(folder.glob("*/chk-*/_metadata"), key=lambda path: path.stat().st_mtime)
    return whole[-1].parent if whole else None


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise FlinkError(f"{command[0]} failed: {(done.stdout + done.stderr)[-1000:]}")
