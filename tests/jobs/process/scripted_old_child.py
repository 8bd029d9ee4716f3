"""A tuning process of another release."""

from __future__ import annotations

import socket
import sys

from server.jobs.process.messages import Channel, Hello

channel = Channel(socket.socket(fileno=int(sys.argv[1])))
channel.send(Hello("0.0.1"))
channel.receive()
