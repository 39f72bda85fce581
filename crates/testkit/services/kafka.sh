#!/usr/bin/env bash
# kafka.sh PORT DATA_DIR LIBS_DIR: one Apache Kafka broker (KRaft, broker and controller in one JVM) on 127.0.0.1:PORT, its controller on a
# free port next to it. Returns when it answers; its process id is in DATA_DIR/kafka.pid, its log in DATA_DIR/kafka.log.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
port=${1:?port}
data=${2:?data directory}
libs=${3:?directory of the jars}
controller=$((port + 1))
# The jars of another version go when the one that is wanted changes.
if ! cmp -s "$here/kafka-pom.xml" "$libs/.complete"; then
  rm -rf "$libs"
  mkdir -p "$libs"
  mvn -q -B -f "$here/kafka-pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" -DincludeScope=runtime
  cp "$here/kafka-pom.xml" "$libs/.complete"
fi
mkdir -p "$data"
cat >"$data/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$data/log
num.partitions=4
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=${TILLSTREAM_KAFKA_SESSION_MS:-9000}
auto.create.topics.enable=false
message.max.bytes=33554432
P
log=-Dorg.slf4j.simpleLogger.defaultLogLevel
if [ ! -e "$data/log/meta.properties" ]; then
  id=$(java $log=warn -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool random-uuid | tail -1)
  java $log=warn -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool format -t "$id" -c "$data/server.properties" \
    >"$data/format.log" 2>&1 || { cat "$data/format.log" >&2; exit 1; }
fi
nohup setsid java -Xms512m -Xmx512m -XX:+UseG1GC $log=info -cp "$libs/*" kafka.Kafka "$data/server.properties" \
  >"$data/kafka.log" 2>&1 </dev/null &
echo $! >"$data/kafka.pid"
for _ in $(seq 1 900); do
  if grep -qi 'Kafka Server started' "$data/kafka.log" && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then exit 0; fi
  kill -0 "$(cat "$data/kafka.pid")" 2>/dev/null || { tail -20 "$data/kafka.log" >&2; exit 1; }
  sleep 0.1
done
echo "Apache Kafka was not ready after 90 s; its log ends with:" >&2
tail -20 "$data/kafka.log" >&2
exit 1
