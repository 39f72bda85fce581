"""Processes and the systems that all engines share: Kafka, the registry, projects, the payments."""
import os, pathlib, shutil, signal, socket, subprocess, time
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SERVICES = REPOSITORY / "crates/testkit/services"
CACHE = pathlib.Path(os.environ.get("TILLSTREAM_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tillstream")
PARTITIONS = 4


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def cpu_s(pid):
    """Processor time of a process with all its threads."""
    ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid):
    """Its resident memory at the highest."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Process:
    """A child with its log in a file. It is spoken to by lines."""

    def __init__(self, name, command):
        self.log = name.with_suffix(".log")
        with self.log.open("ab") as log:
            self.child = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.pid = self.child.pid

    def read(self):
        line = self.child.stdout.readline()
        if not line:
            self.child.wait()
            self.check()
        return line.strip()

    def check(self):
        """Raises with the end of its log if it has ended."""
        if self.child.poll() is not None:
            raise SystemExit(f"{' '.join(self.child.args)} ended; its log ends with:\n{self.log.read_text()[-3000:]}")

    def write(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Service:
    """A system of crates/testkit/services, started by its script: port, data directory, directory of jars."""

    def __init__(self, name, work):
        self.port, data = free_port(), work / name
        subprocess.run([SERVICES / f"{name}.sh", str(self.port), data, CACHE / f"{name}-libs"], check=True)
        self.pid = int((data / f"{name}.pid").read_text())

    def stop(self):
        pid, self.pid = self.pid, None
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        until = time.time() + 30
        # Its parent, the script, has ended, so that it can't be waited for.
        while is_alive(pid):
            time.sleep(0.1)
            if time.time() > until:
                os.kill(pid, signal.SIGKILL)


def java_classes(name, source):
    """Libraries by Maven, and the class by javac, in the cache; gives the class path."""
    place = CACHE / "peers" / name
    pom = HERE / f"{name}-pom.xml"
    if not (place / "pom.xml").exists() or (place / "pom.xml").read_text() != pom.read_text():
        shutil.rmtree(place, ignore_errors=True)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={place}/libs", "-DincludeScope=runtime"]
        subprocess.run(["mvn", "-q", "-B", "-f", pom, *goal], check=True, stdout=subprocess.DEVNULL)
        shutil.copy(pom, place / "pom.xml")
    subprocess.run(["javac", "-nowarn", "-cp", f"{place}/libs/*", "-d", place, HERE / source], check=True)
    return f"{place}:{place}/libs/*"


class Systems:
    """Kafka and a registry, and what all engines read."""

    def __init__(self, program, work):
        self.program, self.work, self.running = program, work, []
        self.kafka = self.keep(Service("kafka", work))
        self.brokers = f"127.0.0.1:{self.kafka.port}"
        self.admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 2})
        # Latencies are differences of the broker's own times.
        time_of = ConfigEntry("log.message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
        broker = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[time_of])
        self.admin.incremental_alter_configs([broker])[broker].result()
        registry = self.keep(Process(work / "registry", [program, "registry", "--memory", "--listen", "127.0.0.1:0"]))
        self.registry = registry.read()

    def keep(self, started):
        self.running.append(started)
        return started

    def stop(self):
        for started in reversed(self.running):
            started.stop()

    def topic(self, name):
        self.admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result()

    def project(self, project, query=None):
        """A copy of the payments example with the one query, if any, and no other."""
        shutil.copytree(REPOSITORY / "examples/payments", project, ignore=shutil.ignore_patterns("queries", "patterns", "tests", ".tillstream"))
        if query:
            (project / "queries").mkdir()
            shutil.copy(HERE / "query.sql", project / "queries" / f"{query}.sql")
        return project

    def tillstream(self, name, command, project, prefix, *more):
        """One of our commands as a process, on a project whose topics begin with `prefix`."""
        sets = [f"connections.kafka.brokers={self.brokers}", f"connections.kafka.topic_prefix={prefix}", f"connections.registry.url={self.registry}"]
        return self.keep(Process(name, [self.program, command, project, *(part for value in sets for part in ("--set", value)), *more]))
