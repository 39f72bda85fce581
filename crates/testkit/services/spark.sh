#!/usr/bin/env bash
# spark.sh PORT DATA_DIR LIBS_DIR: a Spark Connect server on 127.0.0.1:PORT in one JVM with two task slots, with the Kafka and Avro connectors.
# Spark itself is the pyspark package of the Python in TILLSTREAM_TEST_PYTHON. Returns when it answers; its process id is in
# DATA_DIR/spark.pid, its log in DATA_DIR/spark.log. Its temporary directory is its own: Spark keeps models below a fixed name there, which
# another user of the machine may own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
port=${1:?port}
data=${2:?data directory}
libs=${3:?directory of the jars}
# The jars of another version go when the one that is wanted changes.
if ! cmp -s "$here/spark-pom.xml" "$libs/.complete"; then
  rm -rf "$libs"
  mkdir -p "$libs"
  mvn -q -B -f "$here/spark-pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" -DincludeScope=runtime
  # Spark has its own of these; two of them break its class loading.
  rm -f "$libs"/scala-library-*.jar "$libs"/slf4j-api-*.jar
  cp "$here/spark-pom.xml" "$libs/.complete"
fi
mkdir -p "$data/work" "$data/tmp"
SPARK_HOME=$("${TILLSTREAM_TEST_PYTHON:-python3}" -c 'import importlib.util; print(importlib.util.find_spec("pyspark").submodule_search_locations[0])')
export SPARK_HOME SPARK_LOCAL_IP=127.0.0.1
jars=$(printf '%s,' "$libs"/*.jar)
cd "$data/work"
nohup setsid "$SPARK_HOME/bin/spark-submit" --class org.apache.spark.sql.connect.service.SparkConnectServer --name tillstream \
  --master 'local[2]' --driver-memory "${TILLSTREAM_SPARK_MEMORY:-2g}" --jars "${jars%,}" \
  --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 \
  --conf spark.connect.grpc.binding.address=127.0.0.1 --conf spark.connect.grpc.binding.port="$port" \
  --driver-java-options "-Djava.io.tmpdir=$data/tmp" \
  --conf spark.local.dir="$data/local" --conf spark.sql.warehouse.dir="$data/warehouse" \
  spark-internal >"$data/spark.log" 2>&1 </dev/null &
echo $! >"$data/spark.pid"
for _ in $(seq 1 900); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && exit 0
  kill -0 "$(cat "$data/spark.pid")" 2>/dev/null || { tail -20 "$data/spark.log" >&2; exit 1; }
  sleep 0.1
done
echo "Spark Connect was not ready after 90 s; its log ends with:" >&2
tail -20 "$data/spark.log" >&2
exit 1
