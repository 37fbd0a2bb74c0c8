"""A bucket of a real server of the S3 API, behind a gate that can be shut."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import boto3


class Gate:
    """Passes connections on to a port of this host, unless it is shut."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_shut = False
        self.upload_bytes: int | None = None
        """After so many bytes of one connection it is cut; None: never."""
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Break all connections, and refuse new ones."""
        with self._lock:
            self._is_shut = True
            for one in self._open:
                _break(one)

    def open(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_shut = False

    def close(self) -> None:
        """End."""
        self.shut()
        _break(self._listener)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(
                    target=self._connect, args=self._listener.accept()[:1], daemon=True
                ).start()

    def _connect(self, client: socket.socket) -> None:
        if self._is_shut:
            client.close()
            return
        with client, socket.create_connection(("127.0.0.1", self._behind)) as server:
            with self._lock:
                self._open |= {client, server}
                if self._is_shut:
                    return
            back = threading.Thread(target=_pump, args=(server, client, None), daemon=True)
            back.start()
            _pump(client, server, self.upload_bytes)
            back.join()
            with self._lock:
                self._open -= {client, server}


def _pump(source: socket.socket, target: socket.socket, most: int | None) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
            passed += len(data)
            if most is not None and passed > most:
                break
    _break(source)
    _break(target)


def _break(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


class Bucket:
    """
    An empty bucket.

    Args:
        port: of the server, without the gate.
    """

    def __init__(self, gate: Gate, port: int) -> None:
        self.gate = gate
        self.name = f"b{uuid4().hex}"
        self.url = f"s3://{self.name}/lab"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{gate.port}",
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-bucket",
            "AWS_REGION": "us-east-1",
        }
        self._server = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="a-key",
            aws_secret_access_key="a-secret-of-the-bucket",
        )
        self._server.create_bucket(Bucket=self.name)

    def write(self, place: str, content: bytes) -> None:
        """Replace an object without anybody's notice."""
        self._server.put_object(Bucket=self.name, Key=f"lab/{place}", Body=content)

    def places(self) -> list[str]:
        """Return all places."""
        found = self._server.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(one["Key"].removeprefix("lab/") for one in found)

    def vanish(self) -> None:
        """Delete the bucket."""
        for place in self.places():
            self._server.delete_object(Bucket=self.name, Key=f"lab/{place}")
        self._server.delete_bucket(Bucket=self.name)

    def close(self) -> None:
        """Open the gate for others, and close the connections."""
        self.gate.upload_bytes = None
        self.gate.open()
        self._server.close()


@contextmanager
def s3_server() -> Iterator[tuple[Gate, int]]:
    """Run a server; give its gate and its own port."""
    command = [sys.executable, "-m", "tests.s3_server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        gate = Gate(port)
        try:
            yield gate, port
        finally:
            gate.close()
            process.stdin.close()
