"""A private Campus with the demo catalogue, on a database and a Redis of its own, for the suites."""
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from redis_server import RedisServer, free_port  # noqa: E402

PASSWORD = "only-for-the-suites-1"
ADMIN = "admin@campus.local"
STUDENT = "suites@example.org"
# Courses of the demo in which the student has a place.
PLACES = range(1, 6)


class Campus:
    def __init__(self, binary):
        self.binary, self.port = binary, free_port()
        self.redis = RedisServer()
        self.folder = tempfile.TemporaryDirectory(prefix="campus-suites-")
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.redis.start()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        settings = {
            "CAMPUS_ADDR": f"127.0.0.1:{self.port}", "CAMPUS_ADMIN_PASSWORD": PASSWORD,
            "DATABASE_URL": f"sqlite://{self.folder.name}/campus.db", "REDIS_URL": self.redis.url,
            "LOG_FILTER": "error",
        }
        self.process = subprocess.Popen([self.binary, "serve"], cwd=self.folder.name,
                                        env={**keep, **settings}, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("campus did not start")
            time.sleep(0.1)

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.redis.kill()
        self.folder.cleanup()

    def stop_redis(self):
        """It hangs: connections are accepted and nothing is answered."""
        self.redis.stop()

    def kill_redis(self):
        self.redis.kill()

    def is_ready(self):
        try:
            return self.ask("GET", "/health/ready") is not None
        except OSError:
            return False

    def ask(self, method, path, body=None, token=None):
        """The JSON of the answer."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def token(self, email):
        login = {"email": email, "password": PASSWORD}
        return self.ask("POST", "/auth/login", login)["access_token"]

    def admin(self):
        return self.token(ADMIN)

    def student(self):
        """The token of a new student who has places in some courses."""
        account = {"username": "suites", "email": STUDENT, "password": PASSWORD,
                   "full_name": "Susan Ites"}
        self.ask("POST", "/auth/register", account)
        token = self.token(STUDENT)
        for course in PLACES:
            try:
                self.ask("POST", "/enrollments", {"course_id": course}, token)
            except urllib.error.HTTPError as refused:
                # Full, or not published.
                if refused.code != 409:
                    raise
        return token
