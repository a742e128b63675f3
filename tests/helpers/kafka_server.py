"""A real Kafka server: one KRaft node on free ports, with its data in a temporary folder and its jars from Maven Central.

    with KafkaServer() as server:
        connect(server.url)

``python -m tests.helpers.kafka_server --port 9092`` runs one in the foreground. ``kill`` and then ``start`` simulate a crash: the data stay.
"""

import argparse
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.helpers.ports import free_port

ROOT = Path(__file__).parents[2]
JARS = ROOT / ".kafka" / "lib"
POM = ROOT / "tests" / "kafka" / "pom.xml"

_START = 180.0  # seconds within which a node must answer
_STOP = 30.0

# Small, with no rebalance delay, and writing nothing while nothing happens; a topic exists only if it was created.
_PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
{quorum}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
metadata.max.idle.interval.ms=0
"""

_LOGGING = """
rootLogger = WARN, out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
"""


class KafkaServer:
    """One node. ``stop`` shuts it down in order, ``kill`` does not; both keep its data for the next ``start``; ``close`` removes them.

    Args:
        port: The port to listen on; by default a free one.
        cluster: The controllers' ports of all nodes of its cluster; by default the node is alone.
        node: Its index among them.
    """

    def __init__(self, port: int | None = None, cluster: Sequence[int] = (), node: int = 0) -> None:
        self.port, controller = port or free_port(), cluster[node] if cluster else free_port()
        voters = ",".join(f"{n + 1}@127.0.0.1:{other}" for n, other in enumerate(cluster))
        quorum = f"controller.quorum.voters={voters}" if cluster else f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}"
        replicas = len(cluster) or 1
        self._format = [] if cluster else ["--standalone"]
        self.url = f"kafka://127.0.0.1:{self.port}"
        self._folder = Path(tempfile.mkdtemp(prefix="sml-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None
        properties = _PROPERTIES.format(
            port=self.port,
            controller=controller,
            quorum=quorum,
            node=node + 1,
            replicas=replicas,
            in_sync=max(1, replicas - 1),
            data=self._folder / "data",
        )
        (self._folder / "server.properties").write_text(properties)
        (self._folder / "log4j2.properties").write_text(_LOGGING)

    def start(self) -> None:
        """Start the node on its port and wait until it answers."""
        if not (self._folder / "data").exists():
            cluster = "c21sLW9ubGluZS10ZXN0cw"
            arguments = ["format", *self._format, "--cluster-id", cluster, "--config", "server.properties"]
            subprocess.run(self._java("kafka.tools.StorageTool", *arguments), cwd=self._folder, check=True, capture_output=True)
        with (self._folder / "output.txt").open("ab") as output:
            command = self._java("kafka.Kafka", "server.properties")
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=output, stderr=output)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Shut the node down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the node, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend the node: it keeps its connections and answers nothing."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the node after ``pause``."""
        self._send(signal.SIGCONT)

    def wait(self) -> None:
        """Wait until the node exits by itself."""
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """Kill the node, if it runs, and remove its data."""
        self.kill()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _java(self, main: str, *arguments: str) -> list[str]:
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=log4j2.properties"]
        return ["java", *options, "-cp", f"{JARS}/*", main, *arguments]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        output = (self._folder / "output.txt").read_text()[-4000:]
        self.kill()
        raise RuntimeError(f"Kafka did not start on port {self.port} within {_START:g} seconds:\n{output}")

    def _send(self, signal_number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal_number)

    def _end(self, signal_number: signal.Signals) -> None:
        self._send(signal_number)
        if self._process is not None:
            self._process.wait(_STOP)
        self._process = None


def fetch_jars() -> str | None:
    """Fetch the jars by Maven, once; return why if that fails."""
    fetched = any(JARS.glob("kafka_2.13-*.jar"))
    for tool in ("java",) if fetched else ("java", "mvn"):
        if shutil.which(tool) is None:
            return f"a real Kafka needs Java 17 and Maven (or SML_TEST_KAFKA=kafka://host:9092): no {tool} found"
    if not fetched:
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"Maven could not fetch Kafka's jars: {done.stdout[-1000:]}"
    return None


def main() -> None:
    """Run a node in the foreground until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=9092)
    port = parser.parse_args().port
    if problem := fetch_jars():
        raise SystemExit(problem)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: sys.exit(0))
    with KafkaServer(port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        server.wait()


if __name__ == "__main__":
    main()
