"""A private PostgreSQL on a free port, stopped with the program that started it."""
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from redis_server import free_port


class PostgresServer:
    def __enter__(self):
        # Debian's folder of the newest version; PostgreSQL refuses to run as root.
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self.folder = Path(tempfile.mkdtemp(prefix="campus-pg-"))
        self.folder.chmod(0o777)
        self.port = free_port()
        self.run("initdb", "-A", "trust", "-U", "campus", "-N", "-E", "UTF8")
        self.run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o",
                 f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=")
        return self

    @property
    def url(self):
        return f"postgres://campus@127.0.0.1:{self.port}/postgres"

    def run(self, program, *arguments):
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        prefix = as_postgres if os.geteuid() == 0 else []
        subprocess.run([*prefix, self.programs / program, "-D", self.folder / "cluster",
                        *arguments], cwd="/", check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)

    def query(self, sql):
        subprocess.run([self.programs / "psql", "-q", "-d", self.url, "-c", sql], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def __exit__(self, *_):
        self.run("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
