//! Which API and version a request is, and who answers it.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiKey, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    FetchRequest, FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, ResponseHeader,
    SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request};

use crate::api::{admin, cluster, configs, fetch, group_admin, groups, offsets, produce};
use crate::broker::Shared;
use crate::connection::{Ends, Frame, Reply};
use crate::shape;

/// Requests other than Produce carry no records and are small.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("a request of {size} bytes; 0 to {limit} are allowed (is that a Kafka client?)")]
    Size { size: i32, limit: usize },
    #[error("a request whose header can't be read")]
    Header,
    #[error("API {key} version {version} isn't served; the client should have asked with ApiVersions")]
    Version { key: i16, version: i16 },
    #[error("a request of API {api:?} version {version} that can't be read: {reason}")]
    Malformed { api: ApiKey, version: i16, reason: String },
    #[error("an answer to API {api:?} version {version} that can't be written: {reason}")]
    Answer { api: ApiKey, version: i16, reason: String },
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// The versions of each API that are served.
///
/// Produce: 3 is the first that carries today's batches. 0 to 2 are advertised and yet refused, exactly as Apache Kafka 4 does:
/// librdkafka takes their absence for a broker without compression (KAFKA-18659).
pub(crate) const SERVED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, 11),
    (ApiKey::Fetch, 4, 16),
    (ApiKey::ListOffsets, 1, 8),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 2),
];

/// What a handler knows of the request besides its body.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: String,
    pub(crate) ends: Ends,
}

impl Context {
    /// An answer's first bytes: room for its length, and its header.
    pub(crate) fn begin(&self, capacity: usize) -> Result<Frame, Refused> {
        let mut frame = Vec::with_capacity(capacity + 16);
        frame.extend_from_slice(&[0; 4]);
        let header = ResponseHeader::default().with_correlation_id(self.correlation_id);
        header
            .encode(&mut frame, self.api.response_header_version(self.version))
            .map_err(|error| self.unanswerable(&error.to_string()))?;
        Ok(frame)
    }

    /// Sets the length of a whole answer.
    pub(crate) fn finish(&self, mut frame: Frame) -> Result<Frame, Refused> {
        let size = i32::try_from(frame.len() - 4).map_err(|_| self.unanswerable("it is too large"))?;
        if let Some(length) = frame.first_chunk_mut() {
            *length = size.to_be_bytes();
        }
        Ok(frame)
    }

    /// A whole answer.
    pub(crate) fn encode<R: Encodable>(&self, response: &R) -> Result<Frame, Refused> {
        let mut frame = self.begin(256)?;
        response.encode(&mut frame, self.version).map_err(|error| self.unanswerable(&error.to_string()))?;
        self.finish(frame)
    }

    fn unanswerable(&self, reason: &str) -> Refused {
        Refused::Answer { api: self.api, version: self.version, reason: reason.to_owned() }
    }
}

/// Answers one request.
pub(crate) async fn handle(shared: &Arc<Shared>, ends: Ends, mut frame: Bytes) -> Result<Reply, Refused> {
    let size = frame.len();
    let (key, version, correlation_id) = fixed_header(&mut frame)?;
    let unserved = Refused::Version { key, version };
    let Ok(api) = ApiKey::try_from(key) else { return Err(unserved) };
    let range = SERVED.iter().find(|(served, _, _)| *served == api);
    let is_served = range.is_some_and(|(_, least, greatest)| (*least..=*greatest).contains(&version));
    if !is_served {
        if api == ApiKey::ApiVersions {
            // The client speaks a newer version, and its header may be newer too: version 0 says what we have.
            let context = Context { api, version: 0, correlation_id, client_id: String::new(), ends };
            return context.encode(&cluster::api_versions(true)).map(Reply::Ready);
        }
        return Err(unserved);
    }
    if api != ApiKey::Produce && size > REQUEST_BYTES_MAX {
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        return Err(Refused::Size { size, limit: REQUEST_BYTES_MAX });
    }
    let malformed = |reason: &str| Refused::Malformed { api, version, reason: reason.to_owned() };
    let client_id = shape::rest_of_header(&mut frame, api.request_header_version(version))
        .ok_or_else(|| malformed("its header is cut off"))?;
    shape::check(api, version, &frame).map_err(malformed)?;
    route(shared, &Context { api, version, correlation_id, client_id, ends }, frame).await
}

fn fixed_header(frame: &mut Bytes) -> Result<(i16, i16, i32), Refused> {
    if frame.len() < 8 {
        return Err(Refused::Header);
    }
    Ok((frame.get_i16(), frame.get_i16(), frame.get_i32()))
}

fn decode<R: Request>(context: &Context, mut frame: Bytes) -> Result<R, Refused> {
    <R as Decodable>::decode(&mut frame, context.version).map_err(|error| Refused::Malformed {
        api: context.api,
        version: context.version,
        reason: error.to_string(),
    })
}

/// Decodes the body as `$request`, gives it to `$handler` and encodes the response.
macro_rules! answer {
    ($context:ident, $frame:ident, $request:ty, |$name:ident| $handler:expr) => {{
        let $name: $request = decode($context, $frame)?;
        $context.encode(&$handler).map(Reply::Ready)
    }};
}

async fn route(shared: &Arc<Shared>, context: &Context, frame: Bytes) -> Result<Reply, Refused> {
    match context.api {
        ApiKey::Produce => {
            let request: ProduceRequest = decode(context, frame)?;
            produce::produce(shared, context, request).await
        }
        ApiKey::Fetch => {
            let request: FetchRequest = decode(context, frame)?;
            fetch::fetch(shared, context, request).await.map(Reply::Ready)
        }
        ApiKey::ApiVersions => {
            let _request: ApiVersionsRequest = decode(context, frame)?;
            context.encode(&cluster::api_versions(false)).map(Reply::Ready)
        }
        ApiKey::Metadata => {
            answer!(context, frame, MetadataRequest, |request| cluster::metadata(shared, context, request).await)
        }
        ApiKey::DescribeCluster => answer!(context, frame, DescribeClusterRequest, |request| {
            cluster::describe_cluster(shared, context, &request)
        }),
        ApiKey::ListOffsets => {
            answer!(context, frame, ListOffsetsRequest, |request| offsets::list(shared, context.version, request).await)
        }
        ApiKey::OffsetForLeaderEpoch => {
            answer!(context, frame, OffsetForLeaderEpochRequest, |request| offsets::for_leader_epoch(shared, request))
        }
        ApiKey::DeleteRecords => {
            answer!(context, frame, DeleteRecordsRequest, |request| offsets::delete_records(shared, request).await)
        }
        ApiKey::InitProducerId => {
            answer!(context, frame, InitProducerIdRequest, |request| produce::init_producer_id(shared, &request).await)
        }
        _ => route_admin(shared, context, frame).await,
    }
}

async fn route_admin(shared: &Arc<Shared>, context: &Context, frame: Bytes) -> Result<Reply, Refused> {
    match context.api {
        ApiKey::CreateTopics => {
            answer!(context, frame, CreateTopicsRequest, |request| admin::create_topics(shared, request).await)
        }
        ApiKey::DeleteTopics => {
            answer!(context, frame, DeleteTopicsRequest, |request| {
                admin::delete_topics(shared, context.version, request).await
            })
        }
        ApiKey::CreatePartitions => {
            answer!(context, frame, CreatePartitionsRequest, |request| admin::create_partitions(shared, request).await)
        }
        ApiKey::DescribeConfigs => {
            answer!(context, frame, DescribeConfigsRequest, |request| configs::describe(shared, request))
        }
        ApiKey::AlterConfigs => {
            answer!(context, frame, AlterConfigsRequest, |request| configs::alter(shared, request).await)
        }
        ApiKey::IncrementalAlterConfigs => {
            answer!(context, frame, IncrementalAlterConfigsRequest, |request| {
                configs::alter_incrementally(shared, request).await
            })
        }
        _ => route_groups(shared, context, frame).await,
    }
}

async fn route_groups(shared: &Arc<Shared>, context: &Context, frame: Bytes) -> Result<Reply, Refused> {
    match context.api {
        ApiKey::FindCoordinator => answer!(context, frame, FindCoordinatorRequest, |request| {
            groups::find_coordinator(shared, context, request)
        }),
        ApiKey::JoinGroup => {
            answer!(context, frame, JoinGroupRequest, |request| groups::join(shared, context, request).await)
        }
        ApiKey::SyncGroup => {
            answer!(context, frame, SyncGroupRequest, |request| groups::sync(shared, request).await)
        }
        ApiKey::Heartbeat => {
            answer!(context, frame, HeartbeatRequest, |request| groups::heartbeat(shared, &request))
        }
        ApiKey::LeaveGroup => {
            answer!(context, frame, LeaveGroupRequest, |request| { groups::leave(shared, context.version, request) })
        }
        ApiKey::OffsetCommit => {
            answer!(context, frame, OffsetCommitRequest, |request| groups::commit(shared, request).await)
        }
        ApiKey::OffsetFetch => answer!(context, frame, OffsetFetchRequest, |request| {
            groups::fetch_offsets(shared, context.version, request)
        }),
        ApiKey::OffsetDelete => {
            answer!(context, frame, OffsetDeleteRequest, |request| group_admin::delete_offsets(shared, request).await)
        }
        ApiKey::DescribeGroups => answer!(context, frame, DescribeGroupsRequest, |request| {
            group_admin::describe(shared, context.version, request)
        }),
        ApiKey::ListGroups => {
            answer!(context, frame, ListGroupsRequest, |request| group_admin::list(shared, &request))
        }
        ApiKey::DeleteGroups => {
            answer!(context, frame, DeleteGroupsRequest, |request| group_admin::delete(shared, request).await)
        }
        other => Err(Refused::Version { key: other as i16, version: context.version }),
    }
}
