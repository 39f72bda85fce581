import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * query.sql in Kafka Streams. Arguments: Kafka, file of the Avro schema, topic of the payments, directory for state, "drain" or "live".
 *
 * <p>Each line of standard input names a topic and starts the query into it; the next, empty line ends it. The grace is a day: with 10 seconds
 * Kafka Streams drops rows of a drain, since it reads partitions unevenly and the newest event of any of them closes windows.
 */
public final class KafkaStreamsWindows {
    /** What of a payment goes through the repartition topic, in the smallest form there is. */
    record Payment(String group, boolean approved, long cents, long eventTimeUs) {}

    record Totals(long payments, long approved, long cents, long newestUs) {
        Totals add(Payment payment) {
            return new Totals(payments + 1, approved + (payment.approved ? 1 : 0), cents + (payment.approved ? payment.cents : 0),
                Math.max(newestUs, payment.eventTimeUs));
        }

        String json(String[] group, long windowStartS) {
            return "{\"window_start\":" + windowStartS + ",\"country\":\"" + group[0] + "\",\"channel\":\"" + group[1] + "\",\"currency\":\""
                + group[2] + "\",\"payments\":" + payments + ",\"approved_total\":"
                + (approved == 0 ? "null" : BigDecimal.valueOf(cents, 2).toPlainString()) + ",\"newest\":" + newestUs + "}";
        }
    }

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        var schema = new Schema.Parser().parse(Files.readString(Path.of(arguments[1])));
        System.out.println("ready");
        for (String topic = input.readLine(); topic != null; topic = input.readLine()) {
            var streams = new KafkaStreams(topology(schema, arguments[2], topic), settings(arguments, topic));
            streams.start();
            input.readLine();
            streams.close(Duration.ofSeconds(20));
            System.out.println("stopped");
        }
    }

    static Properties settings(String[] arguments, String topic) {
        boolean live = arguments[4].equals("live");
        var settings = new Properties();
        settings.put("application.id", "peers-" + topic);
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("state.dir", arguments[3]);
        settings.put("num.stream.threads", "2");
        settings.put("auto.offset.reset", "earliest");
        // What changed is published at each commit; live at once, without the cache that gathers it.
        settings.put("commit.interval.ms", live ? "1000" : "200");
        if (live) {
            settings.put("statestore.cache.max.bytes", "0");
            settings.put("producer.linger.ms", "1");
        }
        return settings;
    }

    static Topology topology(Schema schema, String from, String to) {
        var payments = Serdes.serdeFrom((topic, payment) -> bytes(payment.approved ? 1 : 0, payment.cents, payment.eventTimeUs),
            (topic, bytes) -> payment(ByteBuffer.wrap(bytes)));
        var totals = Serdes.serdeFrom((topic, sums) -> bytes(sums.payments, sums.approved, sums.cents, sums.newestUs),
            (topic, bytes) -> bytes == null ? null : totals(ByteBuffer.wrap(bytes)));
        var builder = new StreamsBuilder();
        builder.stream(from, Consumed.with(Serdes.ByteArray(), avro(schema))
                .withTimestampExtractor((record, before) -> ((Payment) record.value()).eventTimeUs / 1000))
            .groupBy((key, payment) -> payment.group, Grouped.with(Serdes.String(), payments))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofDays(1)))
            .aggregate(() -> new Totals(0, 0, 0, 0), (group, payment, sums) -> sums.add(payment), Materialized.with(Serdes.String(), totals))
            .toStream()
            .map((window, sums) -> KeyValue.pair(window.key(), sums.json(window.key().split("\\|"), window.window().start() / 1000)))
            .to(to, Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    /** Decodes Confluent's wire format. The validated topic has one schema, so that its id isn't looked at. */
    static Serde<Payment> avro(Schema schema) {
        // The threads share one serde.
        var readers = ThreadLocal.withInitial(() -> new GenericDatumReader<GenericRecord>(schema));
        var decoders = new ThreadLocal<BinaryDecoder>();
        var records = new ThreadLocal<GenericRecord>();
        return Serdes.serdeFrom((topic, payment) -> null, (topic, bytes) -> {
            try {
                decoders.set(DecoderFactory.get().binaryDecoder(bytes, 5, bytes.length - 5, decoders.get()));
                var record = readers.get().read(records.get(), decoders.get());
                records.set(record);
                var amount = (ByteBuffer) record.get("amount");
                var digits = new byte[amount.remaining()];
                amount.duplicate().get(digits);
                return new Payment(record.get("country") + "|" + record.get("channel") + "|" + record.get("currency"),
                    record.get("status").toString().equals("approved"), new BigInteger(digits).longValueExact(), (Long) record.get("event_time"));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        });
    }

    static byte[] bytes(long... numbers) {
        var buffer = ByteBuffer.allocate(8 * numbers.length);
        for (long number : numbers) {
            buffer.putLong(number);
        }
        return buffer.array();
    }

    static Payment payment(ByteBuffer buffer) {
        return new Payment(null, buffer.getLong() == 1, buffer.getLong(), buffer.getLong());
    }

    static Totals totals(ByteBuffer buffer) {
        return new Totals(buffer.getLong(), buffer.getLong(), buffer.getLong(), buffer.getLong());
    }
}
