import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * query.sql in Flink SQL. Arguments: Kafka, registry, topic of the payments, directory for checkpoints, "drain" or "live".
 *
 * <p>Each line of standard input names a topic and starts the query into it; the next, empty line ends it. A drain ends with the records that
 * are there at its start, and publishes each window once, by Flink's own window function. Live, each payment changes its group's result, as
 * the other engines do it: a window function of Flink publishes when the watermark passes the window, not before.
 */
public final class FlinkSql {
    static final String GROUPS = "country, channel, currency";
    static final String AGGREGATES = "count(*), sum(CASE WHEN status = 'approved' THEN amount END), max(event_time)";
    // In SQL's own types the time is in milliseconds only; as a number it keeps its microseconds.
    static final String EPOCH_S = "TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start)";
    static final String WINDOWS = "SELECT " + EPOCH_S + ", " + GROUPS + ", " + AGGREGATES
        + " FROM TABLE(TUMBLE(TABLE payments, DESCRIPTOR(paid_at), INTERVAL '10' SECONDS)) GROUP BY window_start, window_end, " + GROUPS;
    static final String CHANGES = "SELECT event_time / 10000000 * 10, " + GROUPS + ", " + AGGREGATES
        + " FROM payments GROUP BY event_time / 10000000, " + GROUPS;

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String topic = input.readLine(); topic != null; topic = input.readLine()) {
            JobClient job = start(arguments, topic);
            input.readLine();
            try {
                job.cancel().get();
            } catch (Exception ended) {
                // A drain has ended by itself, and its cluster with it.
            }
            System.out.println("stopped");
        }
    }

    static JobClient start(String[] arguments, String topic) {
        String kafka = "'properties.bootstrap.servers' = '" + arguments[0] + "'";
        boolean drains = arguments[4].equals("drain");
        var settings = new Configuration();
        settings.setString("execution.checkpointing.interval", "10 s");
        settings.setString("execution.checkpointing.dir", "file://" + arguments[3]);
        settings.setString("state.backend.type", "hashmap");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("taskmanager.memory.network.min", "64mb");
        settings.setString("taskmanager.memory.network.max", "64mb");
        if (!drains) {
            settings.setString("execution.buffer-timeout.interval", "5 ms");
        }
        var tables = StreamTableEnvironment.create(StreamExecutionEnvironment.createLocalEnvironment(2, settings));
        tables.getConfig().set("table.local-time-zone", "UTC").set("table.exec.state.ttl", "10 min");
        tables.executeSql("CREATE TABLE payments (country STRING, channel STRING, currency STRING, status STRING, amount DECIMAL(12, 2),"
            + " event_time BIGINT, paid_at AS TO_TIMESTAMP_LTZ(event_time / 1000, 3), WATERMARK FOR paid_at AS paid_at - INTERVAL '5' SECOND)"
            + " WITH ('connector' = 'kafka', " + kafka + ", 'topic' = '" + arguments[2] + "', 'scan.startup.mode' = 'earliest-offset',"
            + (drains ? " 'scan.bounded.mode' = 'latest-offset'," : "")
            + " 'format' = 'avro-confluent', 'avro-confluent.url' = '" + arguments[1] + "')");
        String columns = "window_start BIGINT, country STRING, channel STRING, currency STRING, payments BIGINT,"
            + " approved_total DECIMAL(38, 2), newest BIGINT";
        String json = "'json.encode.decimal-as-plain-number' = 'true'";
        tables.executeSql("CREATE TABLE results (" + columns + (drains ? "" : ", PRIMARY KEY (window_start, " + GROUPS + ") NOT ENFORCED")
            + ") WITH (" + kafka + ", 'topic' = '" + topic + "', "
            + (drains ? "'connector' = 'kafka', 'format' = 'json', " + json
                : "'connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json', 'value." + json.substring(1)) + ")");
        return tables.executeSql("INSERT INTO results " + (drains ? WINDOWS : CHANGES)).getJobClient().orElseThrow();
    }
}
