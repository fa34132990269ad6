"""A private redis-server on a free port, for the benchmarks: no persistence, stopped with them."""
import os
import signal
import socket
import subprocess
import time


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RedisServer:
    def __init__(self, core=None):
        self.port = free_port()
        self.core = core
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        pinned = ["taskset", "-c", str(self.core)] if self.core is not None else []
        command = [*pinned, "redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                   "--save", "", "--appendonly", "no", "--dir", "/tmp"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self.answers():
            if time.monotonic() > deadline:
                raise RuntimeError("redis-server did not start within 10 s")
            time.sleep(0.02)

    def answers(self):
        try:
            return self.ask("PING") == "+PONG"
        except OSError:
            return False

    def ask(self, command):
        """The first line of the answer to an inline command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(65536).decode(errors="replace").split("\r\n")[0]

    def info(self, field):
        """One number of INFO."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"INFO\r\n")
            text = b""
            while not text.endswith(b"\r\n\r\n") and text.count(b"\r\n") < 400:
                part = connection.recv(65536)
                text += part
                if len(part) < 65536 and text.endswith(b"\r\n"):
                    break
        for line in text.decode(errors="replace").splitlines():
            if line.startswith(field + ":"):
                return int(line.split(":")[1])
        raise KeyError(field)

    def kill(self):
        """kill -9, whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)
