"""The application of :mod:`service.bench.eager_server` behind Ray Serve: its proxy, and one replica.

``python -m service.bench.ray_server PORT`` serves it for ``sml bench predict``.
"""

import signal
import sys

from service.bench.eager_server import build


def main(port: int) -> None:
    """Serve until SIGTERM."""
    import ray
    from ray import serve

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # By itself it runs its workers at niceness 15, behind whatever else the machine does.
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", _system_config={"worker_niceness": 0})
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(serve.deployment(serve.ingress(build)(), logging_config={"log_level": "ERROR", "enable_access_log": False}).bind())
    signal.sigwait({signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
