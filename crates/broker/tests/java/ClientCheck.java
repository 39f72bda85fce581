import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** What Java's clients do: {@code java -cp 'libs/*' ClientCheck.java HOST:PORT}. The same check passes against Apache Kafka. */
public class ClientCheck {
    static String bootstrap;
    static String run = Long.toString(System.nanoTime(), 36);

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            cluster(admin);
            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
                roundTrip(admin, codec);
            }
            offsets(admin);
            for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "CooperativeStickyAssignor")) {
                group(admin, assignor);
            }
            topics(admin);
        }
        System.out.println("all passed");
    }

    static void check(boolean holds, Object what) {
        if (!holds) throw new AssertionError(String.valueOf(what));
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    static String create(Admin admin, String what, int partitions, Map<String, String> settings) throws Exception {
        String name = what + "." + run + "." + System.nanoTime();
        CreateTopicsResult created = admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(settings)));
        get(created.all());
        check(get(created.numPartitions(name)) == partitions, "partitions of the answer");
        check(!get(created.topicId(name)).equals(Uuid.ZERO_UUID), "topic id of the answer");
        return name;
    }

    static void cluster(Admin admin) throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        check(get(cluster.nodes()).size() == 1, "one node");
        check(!get(cluster.clusterId()).isEmpty(), "cluster id");
    }

    static KafkaProducer<String, String> producer(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "acks", "all", "linger.ms", 5));
        settings.putAll(more);
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest", "enable.auto.commit", false));
        settings.putAll(more);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    static void roundTrip(Admin admin, String codec) throws Exception {
        String topic = create(admin, "java-" + codec, 3, Map.of());
        List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = producer(Map.of("enable.idempotence", true, "compression.type", codec))) {
            for (int number = 0; number < 3000; number++) {
                var record = new ProducerRecord<>(topic, number % 3, 1_700_000_000_000L + number, "k" + number, "v" + number);
                record.headers().add("h", Integer.toString(number).getBytes(StandardCharsets.UTF_8));
                sent.add(producer.send(record));
            }
        }
        for (int number = 0; number < sent.size(); number++) check(sent.get(number).get().offset() == number / 3, "offset");
        try (var consumer = consumer(Map.of())) {
            consumer.assign(partitions(topic, 3));
            consumer.seekToBeginning(partitions(topic, 3));
            Map<Integer, Long> next = new HashMap<>();
            int seen = 0;
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
            while (seen < 3000) {
                check(System.nanoTime() < deadline, "timed out reading " + codec);
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    int number = Integer.parseInt(record.key().substring(1));
                    check(record.value().equals("v" + number) && record.timestamp() == 1_700_000_000_000L + number, record);
                    check(new String(record.headers().lastHeader("h").value()).equals("" + number), record);
                    check(record.offset() == next.getOrDefault(record.partition(), 0L), record);
                    next.put(record.partition(), record.offset() + 1);
                    seen++;
                }
            }
        }
    }

    static List<TopicPartition> partitions(String topic, int count) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (int number = 0; number < count; number++) partitions.add(new TopicPartition(topic, number));
        return partitions;
    }

    static void offsets(Admin admin) throws Exception {
        String topic = create(admin, "java-offsets", 1, Map.of());
        try (var producer = producer(Map.of("compression.type", "zstd", "linger.ms", 100))) {
            for (int number = 0; number < 100; number++) {
                producer.send(new ProducerRecord<>(topic, 0, 1_000L + (number == 50 ? 9_000 : number), "k", "v"));
            }
        }
        var partition = new TopicPartition(topic, 0);
        check(offset(admin, partition, OffsetSpec.earliest()) == 0, "earliest");
        check(offset(admin, partition, OffsetSpec.latest()) == 100, "latest");
        check(offset(admin, partition, OffsetSpec.maxTimestamp()) == 50, "greatest timestamp");
        check(offset(admin, partition, OffsetSpec.forTimestamp(1_030)) == 30, "at a time");
        check(offset(admin, partition, OffsetSpec.forTimestamp(1_000_000)) == -1, "beyond all times");
        var deleted = get(admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(40))).all());
        check(offset(admin, partition, OffsetSpec.earliest()) == 40, "earliest after deletion " + deleted);
    }

    static long offset(Admin admin, TopicPartition partition, OffsetSpec spec) throws Exception {
        return get(admin.listOffsets(Map.of(partition, spec)).partitionResult(partition)).offset();
    }

    static void group(Admin admin, String assignor) throws Exception {
        String topic = create(admin, "java-group", 4, Map.of());
        String group = "group." + run + "." + assignor;
        Map<String, Object> settings = Map.of("group.id", group, "heartbeat.interval.ms", 200, "session.timeout.ms", 45000,
            "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
        fill(topic, 5);
        var first = consumer(settings);
        var second = consumer(settings);
        try {
            first.subscribe(List.of(topic));
            List<Long> read = new ArrayList<>();
            pollUntil(List.of(first), read, () -> read.size() >= 20);
            first.commitSync();
            second.subscribe(List.of(topic));
            pollUntil(List.of(first, second), read, () -> first.assignment().size() == 2 && second.assignment().size() == 2);
            var described = get(admin.describeConsumerGroups(List.of(group)).describedGroups().get(group));
            check(described.members().size() == 2 && described.groupState() == GroupState.STABLE, described);
            check(get(admin.listGroups().all()).stream().anyMatch(listing -> listing.groupId().equals(group)), "listed");
            read.clear();
            fill(topic, 5);
            pollUntil(List.of(first, second), read, () -> read.size() >= 20);
            check(read.stream().allMatch(offset -> offset >= 5), "what was committed is read again: " + read);
            first.commitSync();
            second.commitSync();
            second.close();
            pollUntil(List.of(first), read, () -> first.assignment().size() == 4);
        } finally {
            first.close();
            second.close();
        }
        var committed = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        check(committed.values().stream().allMatch(it -> it.offset() == 10) && committed.size() == 4, committed);
        get(admin.alterConsumerGroupOffsets(group, Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(3))).all());
        get(admin.deleteConsumerGroupOffsets(group, Set.of(new TopicPartition(topic, 1))).all());
        committed = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        check(committed.get(new TopicPartition(topic, 0)).offset() == 3 && committed.size() == 3, committed);
        get(admin.deleteConsumerGroups(List.of(group)).all());
    }

    static void fill(String topic, int each) {
        try (var producer = producer(Map.of())) {
            for (int number = 0; number < 4 * each; number++) producer.send(new ProducerRecord<>(topic, number % 4, "k", "v"));
        }
    }

    static void pollUntil(List<KafkaConsumer<String, String>> consumers, List<Long> read, java.util.function.BooleanSupplier done) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        while (!done.getAsBoolean()) {
            check(System.nanoTime() < deadline, "timed out");
            for (var consumer : consumers) {
                for (var record : consumer.poll(Duration.ofMillis(50))) read.add(record.offset());
            }
        }
    }

    static void topics(Admin admin) throws Exception {
        String topic = create(admin, "java-topic", 2, Map.of("cleanup.policy", "compact"));
        var described = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        check(described.partitions().size() == 2 && described.partitions().get(0).leader().id() == 1, described);
        var byId = get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(described.topicId()))).allTopicIds());
        check(byId.get(described.topicId()).name().equals(topic), byId);
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "delete"), AlterConfigOp.OpType.APPEND),
            new AlterConfigOp(new ConfigEntry("retention.ms", "1234"), AlterConfigOp.OpType.SET)))).all());
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (true) {
            Config config = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
            if (config.get("cleanup.policy").value().equals("compact,delete") && config.get("retention.ms").value().equals("1234")) break;
            check(System.nanoTime() < deadline, config);
        }
        refused(admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all(), InvalidConfigurationException.class);
        refused(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all(), TopicExistsException.class);
        refused(admin.createTopics(List.of(new NewTopic("replicated." + run, 1, (short) 3))).all(), InvalidReplicationFactorException.class);
        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all());
        refused(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all(), InvalidPartitionsException.class);
        get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(described.topicId()))).all());
        check(get(admin.listTopics().names()).stream().noneMatch(topic::equals), "the topic is gone");
        refused(admin.describeTopics(List.of(topic)).allTopicNames(), UnknownTopicOrPartitionException.class);
    }

    static void refused(KafkaFuture<?> future, Class<? extends Exception> expected) throws Exception {
        try {
            get(future);
        } catch (java.util.concurrent.ExecutionException refused) {
            check(expected.isInstance(refused.getCause()), refused.getCause());
            return;
        }
        check(false, "not refused: " + expected);
    }
}
