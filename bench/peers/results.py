"""Topics read to their ends, results compared, latencies."""
import bisect, collections, io, json, time, urllib.request
from decimal import Decimal
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
import fastavro

# What is said of a topic that was just made.
NOT_YET = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
Result = collections.namedtuple("Result", "group payments total newest_us time_ms")


class Topic:
    """A topic that is read from its start, as far as it goes, and later further."""

    def __init__(self, systems, name):
        self.systems, self.name, self.schemas = systems, name, {}
        self.consumer = Consumer({"bootstrap.servers": systems.brokers, "group.id": "peers", "enable.auto.commit": False, "log_level": 2})
        self.positions = {}

    def ends(self):
        while True:
            try:
                partitions = self.consumer.list_topics(self.name, timeout=30).topics[self.name].partitions
                return {number: self.consumer.get_watermark_offsets(TopicPartition(self.name, number), timeout=30)[1] for number in partitions}
            except KafkaException as error:
                if error.args[0].code() not in NOT_YET:
                    raise
                time.sleep(0.1)

    def new(self):
        """The records since the last call: their values, decoded, and the broker's times."""
        ends = {partition: end for partition, end in self.ends().items() if end > self.positions.get(partition, 0)}
        self.consumer.assign([TopicPartition(self.name, partition, self.positions.get(partition, 0)) for partition in ends])
        left = sum(end - self.positions.get(partition, 0) for partition, end in ends.items())
        while left > 0:
            for record in self.consumer.consume(10_000, timeout=1):
                if record.error():
                    raise SystemExit(str(record.error()))
                left -= record.offset() < ends[record.partition()]
                self.positions[record.partition()] = record.offset() + 1
                if record.value():
                    yield self.decode(record.value()), record.timestamp()[1]

    def decode(self, value):
        if value[0]:
            return json.loads(value, parse_float=Decimal)
        number = int.from_bytes(value[1:5], "big")
        if number not in self.schemas:
            with urllib.request.urlopen(f"{self.systems.registry}/schemas/ids/{number}") as answer:
                schema = json.loads(json.load(answer)["schema"])
            # Times stay microseconds.
            self.schemas[number] = fastavro.parse_schema(json.loads(json.dumps(schema).replace('"logicalType": "timestamp-micros"', '"doc": ""')))
        return fastavro.schemaless_reader(io.BytesIO(value[5:]), self.schemas[number], None)


class Results(Topic):
    """Results of the query, each version of each group."""

    def __init__(self, systems, name, process):
        super().__init__(systems, name)
        self.process, self.versions = process, []

    def wait_for_first(self, timeout_s):
        until = time.time() + timeout_s
        while not any(self.ends().values()) and time.time() < until:
            self.process.check()
            time.sleep(0.2)

    def wait_for(self, payments, timeout_s):
        """Until as many payments are in the results, or time is over. While something comes, offsets alone are looked at, which disturbs least."""
        before, until = None, time.time() + timeout_s
        while time.time() < until:
            time.sleep(1.5)
            self.process.check()
            now = self.ends()
            if now == before and any(now.values()):
                self.read()
                if sum(row.payments for row in self.last().values()) >= payments:
                    return
            before = now

    def read(self):
        for row, time_ms in self.new():
            # Tillstream's windows are in microseconds, the other programs' in seconds.
            start_s = row["window_start"] // 1_000_000 if row["window_start"] > 10**12 else row["window_start"]
            group = (start_s, row["country"], row["channel"], row["currency"])
            total = None if row["approved_total"] is None else Decimal(row["approved_total"])
            self.versions.append(Result(group, row["payments"], total, row["newest"], time_ms))

    def last(self):
        """The last result of each group, at the time at which it first had all its payments."""
        last = {}
        for row in self.versions:
            if row.group not in last or row.payments > last[row.group].payments:
                last[row.group] = row
        return last


def values(last):
    return {group: (row.payments, row.total, row.newest_us) for group, row in last.items()}


def payments_of(rows):
    """The input, from a topic's records: group, event time and broker's time of each payment."""
    for row, time_ms in rows:
        yield (row["event_time"] // 10_000_000 * 10, row["country"], row["channel"], row["currency"]), row["event_time"], time_ms


def percentiles(latencies):
    ordered = sorted(latencies)
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
    return {"count": len(ordered), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1)}


def latencies(payments, versions, from_ms, to_ms):
    """For inputs of a span of time: from the newest input of each result to the result, and from each input to the first result of its group that
    counts as many payments as had come to it by then. All times are the broker's."""
    came_ms = {event_time: time_ms for _, event_time, time_ms in payments}
    newest, counts, times = [], collections.defaultdict(list), collections.defaultdict(list)
    for row in sorted(versions, key=lambda row: (row.time_ms, row.payments)):
        # A result that only says that its window is over has nothing new.
        if not counts[row.group] or row.payments > counts[row.group][-1]:
            counts[row.group].append(row.payments)
            times[row.group].append(row.time_ms)
            if from_ms <= came_ms[row.newest_us] < to_ms:
                newest.append(row.time_ms - came_ms[row.newest_us])
    ranks, each, lost = collections.Counter(), [], 0
    for group, _, time_ms in sorted(payments, key=lambda payment: payment[2]):
        ranks[group] += 1
        index = bisect.bisect_left(counts[group], ranks[group])
        if index == len(counts[group]):
            lost += 1
        elif from_ms <= time_ms < to_ms:
            each.append(times[group][index] - time_ms)
    return {"newest_input": percentiles(newest), "each_input": percentiles(each), "lost": lost}
