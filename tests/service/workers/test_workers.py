"""Four workers serve on one port from one copy of the weights; whichever process is killed, the others go on."""

import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import kill
from pathlib import Path

import httpx
import pytest

from model.encoding.features import Encoder
from model.encoding.keys import Value
from stream.log.contract import Log
from stream.weights.follow import newest_weights
from tests.helpers.site import Site
from tests.stream.learning import SPEC, TOPICS, example, learn_all, opened

WORKERS, CLIENTS = 4, 6
LARGE = SPEC.model_copy(update={"table": SPEC.table.model_copy(update={"capacity": 2**18})})
VALUES = 5_000  # of users, and of items: some on nearly every page of the table
REQUEST = {"context": {"user": 7}, "candidates": [{"id": n, "item": n, "price": 1.5} for n in range(10)], "time": 1_000_000}
PATIENCE = 180.0  # seconds


class Server:
    """`sml serve --workers 4`, beside a log."""

    def __init__(self, site: Site, log: Log) -> None:
        self.site, self.log, self.url = site, log, f"http://127.0.0.1:{site.ports['serve']}"

    def processes(self) -> dict[str, int]:
        """Return the process of each role, the newest if it was started again."""
        text = (self.site.folder / "serve.log").read_text()
        return {name: int(process) for name, process in re.findall(r"(follower|worker \d) is process (\d+)", text)}

    def predict(self) -> httpx.Response:
        """Ask over a connection of its own, which any worker may take."""
        return httpx.post(f"{self.url}/v1/predict", json=REQUEST, timeout=PATIENCE)

    def answered(self) -> float:
        """Return how many predictions all workers say they have answered."""
        lines = httpx.get(f"{self.url}/metrics", timeout=PATIENCE).text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if re.match(r'sml_server_requests_total\{route="/v1/predict",status="200"', line)
        )

    def learn(self, first: int) -> int:
        """Learn some more, and return the version."""
        self.log.append([example(number) for number in range(first, first + 50)])
        return learn_all(self.log, self.site.folder, LARGE).version


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve weights of a quarter of a million rows."""
    folder = tmp_path_factory.mktemp("workers")
    site = Site(folder, f"sqlite:///{folder / 'log.db'}", SML_LOG__PREFIX=TOPICS.prefix)
    (folder / "sml.toml").write_text('[[field]]\nname = "user"\n[[field]]\nname = "item"\n[[field]]\nname = "price"\nkind = "numeric"\n')
    with opened(folder) as log:
        log.append([example(n, features={"user": n, "item": n, "price": 1.5}) for n in range(VALUES)])
        learn_all(log, folder, LARGE)
        site.start("serve", "--workers", f"{WORKERS}")
        server = Server(site, log)
        try:
            wait_until(lambda: len(server.processes()) == 1 + WORKERS and len(workers_that_map(server)) == 1 + WORKERS)
            yield server
        finally:
            site.end()


def mapped(process: int) -> dict[str, int]:
    """Return how many bytes of shared weights count for a process (each page by the number of those that have it), by inode."""
    found: dict[str, int] = {}
    inode = ""
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inode = line.split()[4] if "/memfd:weights" in line else ""
        elif inode and line.startswith("Pss:"):
            found[inode] = found.get(inode, 0) + int(line.split()[1]) * 1024
    return found


def workers_that_map(server: Server) -> list[dict[str, int]]:
    """Return what each process maps that maps weights at all."""
    return [found for found in map(mapped, server.processes().values()) if found]


def test_workers_answer_from_the_learners_weights_to_the_last_bit(server: Server) -> None:
    _, weights = newest_weights(server.log, TOPICS)
    rows: list[dict[str, Value]] = [{"user": 7, "item": n, "price": 1.5} for n in range(10)]
    expected = weights.probabilities(Encoder(LARGE.fields).encode(rows, [REQUEST["time"]] * 10)[0]).tolist()  # type: ignore[list-item]

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda _: server.predict().json(), range(64)))

    assert all([each["probability"] for each in answer["predictions"]] == expected for answer in answers)


def test_the_memory_of_four_workers_is_two_copies_of_the_weights(server: Server) -> None:
    version = server.learn(0)  # both copies have served from now on
    wait_until(lambda: {server.predict().json()["version"] for _ in range(8)} == {version})
    _, weights = newest_weights(server.log, TOPICS)
    copy = sum(array.nbytes for array in (weights.dense, weights.keys, weights.rows, weights.records.counts))

    found = workers_that_map(server)

    assert len({inode for each in found for inode in each}) == 2
    assert sum(sum(each.values()) for each in found) == pytest.approx(2 * copy, rel=0.05)


def test_a_worker_that_is_killed_is_started_again_and_its_requests_stay_counted(server: Server) -> None:
    before, processes = server.answered(), server.processes()

    kill(processes["worker 1"], signal.SIGKILL)
    statuses = [server.predict().status_code for _ in range(20)]
    wait_until(lambda: server.processes()["worker 1"] != processes["worker 1"] and len(workers_that_map(server)) == 1 + WORKERS)
    statuses += [server.predict().status_code for _ in range(20)]

    assert set(statuses) == {200}
    wait_until(lambda: server.answered() == before + 40)


def test_a_worker_that_is_killed_loses_no_request_but_those_it_was_answering(server: Server) -> None:
    process = server.processes()["worker 2"]

    def ask(_: int) -> int:
        try:
            return server.predict().status_code
        except httpx.TransportError:
            return 0

    with ThreadPoolExecutor(CLIENTS) as clients:
        statuses = clients.map(ask, range(15 * CLIENTS))  # each client waits for its answer before it asks again
        time.sleep(0.2)
        kill(process, signal.SIGKILL)
        found = Counter(statuses)
    wait_until(lambda: server.processes()["worker 2"] != process and len(workers_that_map(server)) == 1 + WORKERS)

    assert set(found) <= {0, 200}
    assert found[0] <= CLIENTS


def test_without_the_follower_workers_serve_what_they_have_until_there_is_another(server: Server) -> None:
    follower = server.processes()["follower"]
    kill(follower, signal.SIGKILL)
    first, then = server.predict().json(), server.predict().json()

    assert then["staleness_seconds"] > first["staleness_seconds"]
    version = server.learn(1_000)
    wait_until(lambda: {server.predict().json()["version"] for _ in range(8)} == {version})
    assert server.processes()["follower"] != follower
    assert len({inode for each in workers_that_map(server) for inode in each}) <= 3, "the copies of the first follower are gone"


def test_while_the_system_has_no_process_to_give_the_others_go_on(server: Server) -> None:
    supervisor, processes = server.site.processes["serve"].pid, server.processes()
    _, most = limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (3, most))  # none can be started without descriptors

    kill(processes["worker 3"], signal.SIGKILL)
    wait_until(lambda: "worker 3 has ended, and can't be started again yet" in (server.site.folder / "serve.log").read_text())
    statuses = {server.predict().status_code for _ in range(20)}
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, limits)

    assert statuses == {200}
    wait_until(lambda: server.processes()["worker 3"] != processes["worker 3"] and len(workers_that_map(server)) == 1 + WORKERS)


def test_asked_to_end_the_workers_end_one_by_one_and_requests_are_answered_until_the_last(server: Server) -> None:
    process = server.site.processes["serve"]
    process.send_signal(signal.SIGTERM)
    statuses = []
    while process.poll() is None:
        try:
            statuses.append(server.predict().status_code)
        except httpx.TransportError:
            break

    assert process.wait(PATIENCE) == 0
    assert len(statuses) > WORKERS
    assert set(statuses) == {200}
    ended = re.findall(r"(Shutting down|Finished server)", (server.site.folder / "serve.log").read_text())
    assert ended == ["Shutting down", "Finished server"] * WORKERS
