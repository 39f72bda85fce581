//! The protocol byte by byte: what a well-behaved client library would never send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use broker::Options;
use bytes::{Buf as _, Bytes};
use common::TestBroker;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    InitProducerIdRequest, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that sends requests as it is told to.
struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    fn connect(broker: &TestBroker) -> Self {
        let stream = TcpStream::connect(broker.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { stream, correlation_id: 0 }
    }

    fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.correlation_id += 1;
        let api = ApiKey::try_from(R::KEY).unwrap();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("wire")));
        let mut body = Vec::new();
        header.encode(&mut body, api.request_header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap();
        self.send_frame(&body);
    }

    fn send_frame(&mut self, body: &[u8]) {
        let mut frame = (body.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).unwrap();
    }

    fn receive_frame(&mut self) -> Bytes {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).unwrap();
        body.into()
    }

    fn receive<R: Request>(&mut self, correlation_id: i32, version: i16) -> R::Response {
        let mut body = self.receive_frame();
        let api = ApiKey::try_from(R::KEY).unwrap();
        let header = ResponseHeader::decode(&mut body, api.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, correlation_id);
        let response = R::Response::decode(&mut body, version).unwrap();
        assert!(body.is_empty());
        response
    }

    fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version);
        self.receive::<R>(self.correlation_id, version)
    }

    /// Whether the broker has closed the connection.
    fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    fn produce(&mut self, records: &[u8], version: i16) -> (Option<ResponseError>, i64) {
        let response = self.call(&produce_request(records), version);
        let answer = &response.responses[0].partition_responses[0];
        (ResponseError::try_from_code(answer.error_code), answer.base_offset)
    }
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("wire"))
}

fn produce_request(records: &[u8]) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(Bytes::copy_from_slice(records)));
    let data = TopicProduceData::default().with_name(topic()).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000).with_topic_data(vec![data])
}

fn fetch_request(offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1_000_000);
    let wanted = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1_000_000)
        .with_topics(vec![wanted])
}

/// A broker with the topic `wire`, and a connection to it.
fn start() -> (tempfile::TempDir, TestBroker, Client) {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path());
    let mut client = Client::connect(&broker);
    let wanted = MetadataRequestTopic::default().with_name(Some(topic()));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    assert_eq!(client.call(&request, 12).topics[0].error_code, 0);
    (directory, broker, client)
}

/// A batch of two records whose bytes are one value each, of a producer.
fn batch(producer_id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    let record = |delta: u8| [vec![2 * 7, 0, 0, delta * 2, 1, 2, b'v', 0]].concat();
    let records = [record(0), record(1)].concat();
    let mut bytes = vec![0; 61];
    bytes.extend_from_slice(&records);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&1i32.to_be_bytes());
    bytes[43..51].copy_from_slice(&producer_id.to_be_bytes());
    bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    bytes[57..61].copy_from_slice(&2i32.to_be_bytes());
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[test]
fn a_client_of_the_future_is_told_which_versions_there_are() {
    let (_directory, _broker, mut client) = start();
    // ApiVersions 99, with a body that nobody here can read.
    client.send_frame(&[0, 18, 0, 99, 0, 0, 0, 77, 0xff, 0xff, 1, 2, 3]);
    let mut body = client.receive_frame();
    assert_eq!(body.get_i32(), 77);
    let response = ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert_eq!(response.error_code, ResponseError::UnsupportedVersion.code());
    let offered = response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions as i16).unwrap();
    assert_eq!((offered.min_version, offered.max_version), (0, 4));
    // The connection goes on.
    assert_eq!(client.call(&ApiVersionsRequest::default(), 3).error_code, 0);
}

#[test]
fn nonsense_closes_its_own_connection_and_no_other() {
    let (_directory, broker, mut client) = start();
    let nonsense: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0xff; 64],
        &[0, 0, 0, 2, 1, 2],
        // Metadata 1 that claims 2^31 - 1 topics.
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
        // An API that there isn't.
        &[0, 0, 0, 10, 0x70, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        // Produce 2: too old.
        &[0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff],
    ];
    for bytes in nonsense {
        let mut other = Client::connect(&broker);
        other.stream.write_all(bytes).unwrap();
        assert!(other.is_closed(), "{bytes:?}");
    }
    assert_eq!(broker.metrics.requests_malformed.get(), 6);
    assert_eq!(client.call(&ApiVersionsRequest::default(), 3).error_code, 0);
}

#[test]
fn a_batch_sent_twice_is_there_once_also_after_a_restart() {
    let (directory, broker, mut client) = start();
    let id = client.call(&InitProducerIdRequest::default().with_transactional_id(None), 4);
    let id = id.producer_id.0;
    assert_eq!(client.produce(&batch(id, 0, 0), 9), (None, 0));
    assert_eq!(client.produce(&batch(id, 0, 2), 9), (None, 2));
    assert_eq!(client.produce(&batch(id, 0, 0), 9), (None, 0));
    assert_eq!(client.produce(&batch(id, 0, 6), 9).0, Some(ResponseError::OutOfOrderSequenceNumber));
    broker.stop();

    let broker = TestBroker::start(directory.path());
    let mut client = Client::connect(&broker);
    assert_eq!(client.produce(&batch(id, 0, 2), 9), (None, 2));
    assert_eq!(client.produce(&batch(id, 1, 0), 9), (None, 4));
    assert_eq!(client.produce(&batch(id, 0, 4), 9).0, Some(ResponseError::InvalidProducerEpoch));
    let next = client.call(&InitProducerIdRequest::default().with_transactional_id(None), 4);
    assert!(next.producer_id.0 > id, "producer ids are never given out twice");
    assert_eq!(broker.metrics.batches_duplicate.get(), 1);
}

#[test]
fn damaged_and_alien_batches_are_refused_by_name() {
    let (_directory, _broker, mut client) = start();
    let good = batch(-1, -1, -1);
    let mut flipped = good.clone();
    flipped[65] ^= 1;
    assert_eq!(client.produce(&flipped, 9).0, Some(ResponseError::CorruptMessage));
    assert_eq!(client.produce(&good[..30], 9).0, Some(ResponseError::CorruptMessage));
    assert_eq!(client.produce(&[], 9).0, Some(ResponseError::CorruptMessage));
    assert_eq!(client.produce(&[good.clone(), good.clone()].concat(), 9).0, Some(ResponseError::InvalidRecord));
    let mut old = good.clone();
    old[16] = 1;
    assert_eq!(client.produce(&old, 9).0, Some(ResponseError::UnsupportedForMessageFormat));
    let mut miscounted = good.clone();
    miscounted[60] = 3;
    seal(&mut miscounted);
    assert_eq!(client.produce(&miscounted, 9).0, Some(ResponseError::InvalidRecord));
    let mut zstd = good.clone();
    zstd[22] = 4;
    seal(&mut zstd);
    assert_eq!(client.produce(&zstd, 6).0, Some(ResponseError::UnsupportedCompressionType));
    assert_eq!(client.produce(&good, 3), (None, 0), "nothing of it was kept");
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let (_directory, _broker, mut client) = start();
    let first = client.correlation_id + 1;
    for _ in 0..50 {
        client.send(&produce_request(&batch(-1, -1, -1)), 9);
    }
    for number in 0..50 {
        let response = client.receive::<ProduceRequest>(first + number, 9);
        assert_eq!(response.responses[0].partition_responses[0].base_offset, i64::from(number) * 2);
    }
}

#[test]
fn a_fetch_waits_no_longer_than_it_says_and_no_longer_than_it_must() {
    let (_directory, broker, mut client) = start();
    let begun = Instant::now();
    let empty = client.call(&fetch_request(0, 200), 12);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(empty.responses[0].partitions[0].records.as_ref().map(Bytes::len), Some(0));

    let begun = Instant::now();
    client.send(&fetch_request(0, 15_000), 12);
    let mut other = Client::connect(&broker);
    assert_eq!(other.produce(&batch(-1, -1, -1), 9), (None, 0));
    let found = client.receive::<FetchRequest>(client.correlation_id, 12);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let partition = &found.responses[0].partitions[0];
    assert_eq!(partition.high_watermark, 2);
    // Byte for byte what was sent; the broker sets the base offset (0 here) and the leader's epoch alone.
    assert_eq!(partition.records.as_deref(), Some(&batch(-1, -1, -1)[..]));

    let beyond = client.call(&fetch_request(3, 15_000), 12);
    assert_eq!(beyond.responses[0].partitions[0].error_code, ResponseError::OffsetOutOfRange.code());
}

#[test]
fn every_fetch_version_says_the_same() {
    let (_directory, _broker, mut client) = start();
    assert_eq!(client.produce(&batch(-1, -1, -1), 9), (None, 0));
    let wanted = MetadataRequestTopic::default().with_name(Some(topic()));
    let metadata = client.call(&MetadataRequest::default().with_topics(Some(vec![wanted])), 12);
    let id = metadata.topics[0].topic_id;
    for version in 4..=16 {
        let mut request = fetch_request(0, 0);
        if version >= 13 {
            request.topics[0].topic = TopicName::default();
            request.topics[0].topic_id = id;
        }
        let response: FetchResponse = client.call(&request, version);
        assert_eq!((response.error_code, response.session_id), (0, 0));
        assert_eq!(response.responses[0].partitions[0].records.as_ref().map(Bytes::len), Some(batch(-1, -1, -1).len()));
    }
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let metadata = client.call(&MetadataRequest::default().with_topics(Some(vec![by_id])), 12);
    assert_eq!(metadata.topics[0].name.as_ref().map(|name| name.as_str()), Some("wire"));
}

#[test]
fn transactions_are_refused_and_not_half_served() {
    let (_directory, _broker, mut client) = start();
    let transactional = TransactionalId(StrBytes::from_static_str("t"));
    let id = client.call(&InitProducerIdRequest::default().with_transactional_id(Some(transactional)), 4);
    assert_eq!(id.error_code, ResponseError::InvalidRequest.code());
    let coordinator =
        FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![StrBytes::from_static_str("t")]);
    let found = client.call(&coordinator, 4);
    assert_eq!(found.coordinators[0].error_code, ResponseError::InvalidRequest.code());
    let offered = client.call(&ApiVersionsRequest::default(), 3).api_keys;
    assert!(offered.iter().all(|api| api.api_key != ApiKey::AddPartitionsToTxn as i16));
}

#[test]
fn there_is_a_limit_of_connections() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(([127, 0, 0, 1], 0).into(), directory.path());
    options.connections_max = 2;
    let broker = TestBroker::start_with(options);
    let mut clients = [Client::connect(&broker), Client::connect(&broker)];
    for client in &mut clients {
        assert_eq!(client.call(&ApiVersionsRequest::default(), 3).error_code, 0);
    }
    assert!(Client::connect(&broker).is_closed());
    assert_eq!(clients[0].call(&ApiVersionsRequest::default(), 3).error_code, 0);
}
