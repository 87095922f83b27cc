"""A tool under test that misbehaves: run by `ToolProcess` in the tests, speaks its line protocol.

It sends a reading every 0.1 s; once a file is there it goes wrong in the way it was told to.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time


def say(**what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    config = json.loads(sys.stdin.buffer.readline())
    how = config["how"]
    hoard: list[bytes] = []
    say(ready={})
    burnt = 0
    while not select.select([0], [], [], 0.1)[0]:
        wrong = os.path.exists(config["when"])
        if wrong and how == "dies":
            os._exit(7)
        if wrong and how == "leaks":
            hoard.append(b"x" * 50_000_000)
        if wrong and how == "babbles":
            os.write(1, b"Traceback (most recent call last)\n")
        if wrong and how == "stalls":
            continue
        burnt += sum(i * i for i in range(100_000))  # some processor time of its own
        now_ns = time.monotonic_ns()
        say(t_request_ns=now_ns, t_reply_ns=now_ns + 1, values={"power_w": 42.0})
    say(finished={})


if __name__ == "__main__":
    main()
