"""What the HTTP benchmarks share: building, a catalogue, servers on a core of their own, wrk."""
import json
import os
import re
import resource
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median

from redis_server import free_port

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
SERVER_CORE, CLIENT_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")
COURSES = 1_000
# Microsoft Learn's catalogue, where it lies beside the repository. It is never part of it.
MSLEARN = ROOT.parent / "shared" / "data" / "courses-mslearn"


def build(*arguments):
    """The folder of the release binaries; BENCH_BUILD=0 takes those that are there."""
    if os.environ.get("BENCH_BUILD") != "0":
        subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "campus", *arguments],
                       cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    return Path(target) / "release"


def environment(folder, **settings):
    """A process that finds no settings but these, and no .env in its folder."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**keep, "DATABASE_URL": f"sqlite://{folder}/campus.db", "LOG_FILTER": "error",
            "CAMPUS_ADMIN_PASSWORD": "only-for-the-benchmark-1", **settings}


def courses(folder):
    """A thousand courses of about 1 KB each, as the importer reads them."""
    path = Path(folder) / "courses.ndjson"
    text = "Routing, extractors, a pool of connections and a cache in front of the database. "
    with path.open("w") as file:
        for number in range(COURSES):
            file.write(json.dumps({
                "slug": f"course-{number:04}", "title": f"Course number {number:04}",
                "description": text * 8, "category": f"Field {number % 8}", "level": "beginner",
                "price": "49.00", "tags": ["rust", "axum", "redis"],
            }) + "\n")
    return path


def seed(binary, folder, *paths):
    """Imports into the database of the folder, and creates it."""
    done = subprocess.run([binary / "campus", "seed", "catalogue", *map(str, paths)],
                          env=environment(folder, CAMPUS_SEED="none"), cwd=folder,
                          capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"the import failed:\n{done.stderr}")


class Server:
    """One server process on core 0, with one worker thread."""

    def __init__(self, command, folder, **settings):
        self.command, self.folder, self.settings = command, folder, settings
        self.process, self.port = None, free_port()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        command = [str(part).replace("ADDR", f"127.0.0.1:{self.port}") for part in self.command]
        env = environment(self.folder, TOKIO_WORKER_THREADS="1", **self.settings)
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            cwd=self.folder, env=env, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/nothing", timeout=1)
            except urllib.error.HTTPError:
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.__exit__()
                    sys.exit(f"did not start: {' '.join(command)}")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read(), answer.headers

    def ticks(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def memory_mb(self):
        """(resident, its anonymous part)"""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kb = {name: int(re.search(rf"{name}:\s+(\d+)", status).group(1))
              for name in ("VmRSS", "RssAnon")}
        return kb["VmRSS"] / 1024, kb["RssAnon"] / 1024


def course_ids(server):
    """The ids of all published courses, from the server's own list."""
    ids, skip = [], 0
    while True:
        body, headers = server.get(f"/courses?limit=100&skip={skip}")
        ids += [course["id"] for course in json.loads(body)["items"]]
        skip += 100
        if skip >= int(headers["X-Total-Count"]):
            return ids


def start_wrk(server, prefix, ids_file, seconds, seed=1):
    return subprocess.Popen(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", "-c64", f"-d{seconds}s",
         "-s", str(HERE / "ids.lua"), server.url, "--", prefix, str(ids_file), str(seed)],
        stdout=subprocess.PIPE, text=True)


def wrk_result(process):
    output, _ = process.communicate(timeout=120)
    result = json.loads(re.search(r"RESULT (.*)", output).group(1))
    result["per_second"] = result["requests"] / (result["us"] / 1e6)
    return result


def busy():
    """Ticks of both cores in use, those that the host took for other machines included."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, fields)
    return user + nice + system + interrupts + soft_interrupts + stolen


def children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * TICKS


def quiet_wrk(server, prefix, ids_file, seconds, seed, attempts=4):
    """A run of wrk. It is taken again while other processes use more than a tenth of a core."""
    for _ in range(attempts):
        before = (busy(), server.ticks(), children())
        began = time.monotonic()
        result = wrk_result(start_wrk(server, prefix, ids_file, seconds, seed))
        wall = time.monotonic() - began
        others = (busy() - before[0]) - (server.ticks() - before[1]) - (children() - before[2])
        result["foreign"] = max(0.0, others / TICKS / wall)
        result["server_us"] = (server.ticks() - before[1]) / TICKS * 1e6 / max(1, result["requests"])
        if result["foreign"] < 0.1:
            break
    return result


def spread(values, form="{:.2f}"):
    """median (lowest-highest)"""
    low, mid, high = (form.format(value) for value in (min(values), median(values), max(values)))
    return f"{mid} ({low}-{high})"
