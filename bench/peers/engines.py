"""The four engines: each starts the query of query.sql on the validated payments of a prefix, and ends it."""
import importlib.metadata, time
from systems import REPOSITORY, Process, Service, cpu_s, java_classes, peak_mb

HEAP = "1g"


class Tillstream:
    """`tillstream run --stages process`: a process for each run of the query."""

    title, label = "Tillstream, local engine", "local"

    def __init__(self, systems, work, prefix, is_live, sets):
        self.systems, self.work, self.prefix, self.sets = systems, work, prefix, sets
        self.process = None

    def start(self, name):
        """Starts the query; gives the topic of its results, and when it was started."""
        name = f"{self.label}_{name}"
        project = self.systems.project(self.work / name, query=name)
        more = [part for value in self.sets for part in ("--set", value)]
        started = time.time()
        self.process = self.systems.tillstream(self.work / name, "run", project, self.prefix, "--stages", "process", *more)
        self.process.read()
        return f"{self.prefix}{name}", started

    def pids(self):
        return {"tillstream": self.process.pid} if self.process else {}

    def end(self):
        """Ends the query."""
        self.process.stop()
        self.process = None

    def stop(self):
        if self.process:
            self.end()

    def cpu_s(self):
        return sum(cpu_s(pid) for pid in self.pids().values())

    def peak_mb(self):
        return {name: round(peak_mb(pid)) for name, pid in self.pids().items()}


class Spark(Tillstream):
    """The same with `engine: spark`, on a Spark Connect server that nothing else has used."""

    title, label = f"Tillstream, Spark {importlib.metadata.version('pyspark')}", "spark"

    def __init__(self, systems, work, prefix, is_live, sets):
        self.server = Service("spark", work)
        # A micro-batch takes longer than this, so that one follows the other.
        trigger = ["spark.trigger=100ms"] if is_live else []
        where = f"connections.spark.url=sc://127.0.0.1:{self.server.port}"
        super().__init__(systems, work, prefix, is_live, ["engine=spark", where, *trigger, *sets])

    def pids(self):
        return {"spark": self.server.pid, **super().pids()}

    def stop(self):
        super().stop()
        self.server.stop()


class Java:
    """A program that starts and ends the query as it is told by lines: later runs find a warm virtual machine."""

    def __init__(self, systems, work, prefix, is_live, sets):
        self.systems, self.prefix = systems, prefix
        classes = java_classes(self.label, f"{self.program}.java")
        options = [f"-Xmx{HEAP}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *self.options]
        arguments = [*self.arguments(f"{prefix}transactions.validated"), work, "live" if is_live else "drain"]
        self.process = Process(work / "java", ["java", *options, "-cp", classes, self.program, *arguments])
        self.process.read()

    def start(self, name):
        topic = f"{self.prefix}{self.label}_{name}"
        self.systems.topic(topic)
        started = time.time()
        self.process.write(topic)
        return topic, started

    def end(self):
        self.process.write("")
        self.process.read()

    def stop(self):
        self.process.stop()

    def cpu_s(self):
        return cpu_s(self.process.pid)

    def peak_mb(self):
        return {"java": round(peak_mb(self.process.pid))}


class Flink(Java):
    title, label, program = "Flink SQL 2.2.1", "flink", "FlinkSql"
    options = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "nio")]

    def arguments(self, topic):
        return [self.systems.brokers, self.systems.registry, topic]


class KafkaStreams(Java):
    title, label, program, options = "Kafka Streams 4.3.1", "kafka-streams", "KafkaStreamsWindows", []

    def arguments(self, topic):
        return [self.systems.brokers, REPOSITORY / "examples/payments/schemas/transaction.avsc", topic]


ENGINES = {"local": Tillstream, "spark": Spark, "flink": Flink, "kafka-streams": KafkaStreams}
