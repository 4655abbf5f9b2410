"""Tells each connection who its client is: python3 client.py 0.0.0.0 8080"""

import socket
import struct
import sys
from contextlib import suppress

LEVEL, INFO, SIZE = 0x5050, 1, 64


def address(raw):
    family, port = struct.unpack_from("=H", raw)[0], struct.unpack_from("!H", raw, 2)[0]
    packed = raw[4:8] if family == socket.AF_INET else raw[8:24]
    return f"{socket.inet_ntop(family, packed)} {port}"


family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=family) as server:
    while True:
        connection, _ = server.accept()
        with connection, suppress(ConnectionError):  # it may have gone before it is told
            try:
                info = connection.getsockopt(LEVEL, INFO, SIZE)
                answer = f"{address(info[8:36])} {address(info[36:64])}"
            except OSError:  # ENOPROTOOPT or EOPNOTSUPP
                answer = "no header"
            connection.sendall(f"{answer}\n".encode())
