import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/** Runs patterns (second argument) over events (first argument) in Flink SQL; prints pattern, account, first and last offset of each match. */
public final class FlinkMatch {
    public static void main(String[] arguments) throws Exception {
        var environment = StreamExecutionEnvironment.getExecutionEnvironment();
        environment.setParallelism(1);
        var tables = StreamTableEnvironment.create(environment);
        List<Row> rows = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            var cells = line.split(",");
            rows.add(Row.of(cells[0], Integer.parseInt(cells[1]), Long.parseLong(cells[2]), Integer.parseInt(cells[3])));
        }
        var type = Types.ROW_NAMED(
            new String[] {"account", "q", "second", "source"}, Types.STRING, Types.INT, Types.LONG, Types.INT);
        var times = WatermarkStrategy.<Row>forMonotonousTimestamps()
            .withTimestampAssigner((row, before) -> (Long) row.getField(2) * 1000);
        var events = environment.fromCollection(rows, type).assignTimestampsAndWatermarks(times).returns(type);
        var schema = Schema.newBuilder().column("account", "STRING").column("q", "INT").column("second", "BIGINT")
            .column("source", "INT").columnByMetadata("at", DataTypes.TIMESTAMP_LTZ(3), "rowtime")
            .watermark("at", "SOURCE_WATERMARK()").build();
        tables.createTemporaryView("events", events, schema);
        for (String line : Files.readAllLines(Path.of(arguments[1]))) {
            // Name, PATTERN, DEFINE, AFTER MATCH SKIP, variables of the first and of the last row.
            var part = line.split("\t");
            var sql = "SELECT * FROM events MATCH_RECOGNIZE (PARTITION BY account ORDER BY `at` MEASURES FIRST(" + part[4]
                + ".source) AS f, LAST(" + part[5] + ".source) AS l ONE ROW PER MATCH AFTER MATCH SKIP " + part[3]
                + " PATTERN (" + part[1] + ") WITHIN INTERVAL '1' HOUR DEFINE " + part[2] + ")";
            try (CloseableIterator<Row> matches = tables.executeSql(sql).collect()) {
                matches.forEachRemaining(row -> System.out.println(
                    part[0] + "," + row.getField(0) + "," + row.getField(1) + "," + row.getField(2)));
            }
        }
    }
}
