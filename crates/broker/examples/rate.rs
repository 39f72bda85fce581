//! How fast is it? `cargo run -p broker --release --example rate -- HOST:PORT [records] [bytes]` with librdkafka, against any broker.
#![allow(clippy::unwrap_used, reason = "an example")]

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PARTITIONS: i32 = 1;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let records: usize = arguments.next().map_or(2_000_000, |text| text.parse().unwrap());
    let bytes: usize = arguments.next().map_or(100, |text| text.parse().unwrap());
    for codec in ["none", "lz4"] {
        let topic = format!("rate-{codec}-{}", std::process::id());
        produce(&bootstrap, &topic, codec, records, bytes);
        consume(&bootstrap, &topic, records);
    }
    acknowledge(&bootstrap);
}

fn report(what: &str, records: usize, bytes: usize, took: Duration) {
    let rate = records as f64 / took.as_secs_f64();
    println!("{what}: {rate:.0} records/s, {:.1} MB/s, {took:.2?}", rate * bytes as f64 / 1e6);
}

fn produce(bootstrap: &str, topic: &str, codec: &str, records: usize, bytes: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("compression.codec", codec)
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap();
    let payload = vec![b'x'; bytes];
    let begun = Instant::now();
    for number in 0..records {
        let key = (number as u64).to_be_bytes();
        let mut record = BaseRecord::to(topic).key(&key[..]).payload(&payload[..]);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        if number % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    report(&format!("produced, {codec}"), records, bytes, begun.elapsed());
}

fn consume(bootstrap: &str, topic: &str, records: usize) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "rate")
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "1000000")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut seen, mut bytes) = (0, 0);
    let begun = Instant::now();
    while seen < records {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            bytes += rdkafka::Message::payload(&message.unwrap()).map_or(0, <[u8]>::len);
            seen += 1;
        }
    }
    report("consumed", records, bytes / records, begun.elapsed());
}

fn acknowledge(bootstrap: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()
        .unwrap();
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..1_000 {
        let begun = Instant::now();
        producer.send(BaseRecord::<(), [u8]>::to("rate-ack").payload(b"one record")).unwrap();
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::ZERO); // With a timeout it would return only when that is over.
            std::thread::yield_now();
        }
        took.push(begun.elapsed());
    }
    took.sort();
    println!("acknowledged one by one: p50 {:?}, p99 {:?}", took[500], took[990]);
}
