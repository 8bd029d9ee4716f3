"""A tuning process without a model: it does what the settings say. Run as `python -m`, it imports nothing large.

`fingerprint` is what it says; `failed` is its failure. It reports each `Work` as a validated job and one
that succeeded. It ends with status 3 at the `dies_at`th, and before it is ready where the file `broken` exists.
It is never ready where the file `stuck` does. With `is_deaf` it never ends by itself.
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from server import __version__
from server.jobs.process.messages import Channel, Failed, Hello, Ready, Report, Settings, Work


def main(channel: Channel) -> int:
    channel.send(Hello(__version__))
    given = channel.receive()
    if not isinstance(given, Settings):
        return 1
    values = given.values
    if "failed" in values:
        channel.send(Failed(values["failed"]))
        return 1
    if Path(values.get("broken", "/nonexistent")).exists():
        return 4
    if Path(values.get("stuck", "/nonexistent")).exists():
        channel.receive()
    channel.send(Ready(values["fingerprint"], values.get("costs")))
    if values.get("is_deaf"):
        signal.pause()
    num_works = 0
    while isinstance(message := channel.receive(), Work):
        num_works += 1
        if num_works == values.get("dies_at"):
            channel.send(Failed("the store has gone"))
            return 3
        channel.send(Report({"num_validating": len(message.owned_tasks), "num_succeeded": num_works}))
    return 0


if __name__ == "__main__":
    sys.exit(main(Channel(socket.socket(fileno=int(sys.argv[1])))))
