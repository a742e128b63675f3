"""Honest traffic: a site that asks for predictions and sends impressions and clicks over HTTP, and counts what it is answered."""

import threading
import time

import httpx

HONEST = "honest"  # the prefix of its impressions' ids


class Honest(threading.Thread):
    """Shows a page, then clicks every third impression, until told to stop.

    Args:
        url: The server's URL.
        pause: Seconds between two pages.
    """

    def __init__(self, url: str, pause: float = 0.05) -> None:
        super().__init__(name="honest", daemon=True)
        self.expected: dict[str, int] = {}  # impression id → its label
        self.asked, self.refused = 0, list[str]()
        self._url, self._pause, self._stop_asked = url, pause, threading.Event()

    def run(self) -> None:
        """Send until told to stop."""
        with httpx.Client(base_url=self._url, timeout=30) as client:
            number = 0
            while not self._stop_asked.wait(self._pause):
                name, now, features = f"{HONEST}-{number}", int(time.time() * 1000), {"user": f"u{number % 50}", "price": number % 7}
                self._ask(client, "/v1/predict", {"candidates": [{"id": name, **features}]})
                if self._ask(client, "/v1/impressions", [{"impression_id": name, "time": now, "features": features}]):
                    clicked = number % 3 == 0 and self._ask(client, "/v1/clicks", [{"impression_id": name, "time": now + 1}])
                    self.expected[name] = int(clicked)
                number += 1

    def finish(self) -> None:
        """Tell the thread to stop, and wait until it has."""
        self._stop_asked.set()
        self.join()

    def _ask(self, client: httpx.Client, path: str, body: object) -> bool:
        self.asked += 1
        try:
            answer = client.post(path, json=body)
        except httpx.TransportError as error:
            self.refused.append(f"{path}: {error!r}")
            return False
        if not answer.is_success:
            self.refused.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        return answer.is_success
