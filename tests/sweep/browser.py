"""A browser: asks the web role for its three pages, and knows by the judge's own count whether they speak the truth."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass

ANSWER_S = 10.0
LOOPBACK = "127.0.0.1"
DELIVERED = re.compile(r'^oculard_delivery_count\{state="delivered"\} ([0-9.e+]+)$', re.MULTILINE)
CUT = (OSError, http.client.HTTPException)  # nobody is there, or an answer ended in its middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """Somebody who watches."""

    port: int

    def look(self) -> bool:
        """Ask for every page; whether all of them were answered in full, whatever they said."""
        try:
            return all(self._ask(page)[0] in (200, 503) for page in ("/healthz", "/readyz", "/metrics"))
        except CUT:
            return False

    def is_served(self) -> bool:
        """Whether it is told that all is well."""
        try:
            return self._ask("/healthz") == (200, "ok\n") and bool(json.loads(self._ask("/readyz")[1])["ready"])
        except CUT:
            return False

    def delivered(self) -> int:
        """How many deliveries the metrics say have ended. Raises OSError or HTTPException when nobody answers."""
        said = DELIVERED.search(self._ask("/metrics")[1])
        return 0 if said is None else int(float(said[1]))

    def _ask(self, page: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()  # raises when it is shorter than it said
        finally:
            connection.close()
