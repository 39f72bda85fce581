//! Which topics there are, and the file that keeps them.
//!
//! `broker.json` in the data directory holds topics with ids, partition counts and settings, the cluster's id and the producer ids given
//! out. It is replaced as a whole at every change, before the change is answered. Partitions lie in `topics/<topic id>/<partition>/`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::log::files;
use crate::log::partition::PartitionLog;
use crate::metrics::Metrics;
use crate::options::{FlushPolicy, Options};
use crate::sync::{lock, read, write};
use crate::topic_config::{Defaults, TopicConfig};

const FILE: &str = "broker.json";
const FORMAT: u32 = 1;
/// Producer ids are given out from blocks of this size, so that the file isn't written for each.
const PRODUCER_ID_BLOCK: i64 = 1_000;
/// Kafka's limit of a topic's name.
const NAME_LEN_MAX: usize = 249;

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    config: RwLock<Arc<TopicConfig>>,
    partitions: RwLock<Arc<[Arc<PartitionLog>]>>,
}

impl Topic {
    /// Its settings now.
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        read(&self.config).clone()
    }

    /// Its partitions, by number.
    pub(crate) fn partitions(&self) -> Arc<[Arc<PartitionLog>]> {
        read(&self.partitions).clone()
    }

    /// The partition with this number.
    pub(crate) fn partition(&self, number: i32) -> Option<Arc<PartitionLog>> {
        let number = usize::try_from(number).ok()?;
        read(&self.partitions).get(number).cloned()
    }
}

/// Why a change of topics wasn't made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error("topic {0} exists already")]
    Exists(String),
    #[error("there is no topic {0}")]
    Unknown(String),
    #[error("{0:?} is no topic name: 1 to 249 of the characters a-z A-Z 0-9 . _ - are needed, and not . or ..")]
    Name(String),
    #[error("topic {name} can't have {wanted} partitions: {reason}")]
    Partitions { name: String, wanted: i32, reason: String },
    #[error("{0}")]
    Storage(#[from] Error),
}

/// All topics of the broker.
#[derive(Debug)]
pub(crate) struct Topics {
    directory: PathBuf,
    flush: FlushPolicy,
    partitions_max: usize,
    pub(crate) defaults: Defaults,
    metrics: Arc<Metrics>,
    cluster_id: String,
    maps: RwLock<Maps>,
    /// Held while topics change and the file is written.
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Maps {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

#[derive(Debug)]
struct Ledger {
    next_producer_id: i64,
    /// Ids below it are ours to give out.
    producer_ids_until: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    format: u32,
    cluster_id: String,
    /// No producer id at or above it was ever given out.
    next_producer_id: i64,
    topics: Vec<SavedTopic>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedTopic {
    name: String,
    #[serde(serialize_with = "id_to_text", deserialize_with = "id_from_text")]
    id: Uuid,
    partitions: i32,
    config: BTreeMap<String, String>,
}

impl Topics {
    /// Opens the topics in the data directory. `clean` says that the broker closed them properly. Blocks.
    pub(crate) fn open(options: &Options, clean: bool, metrics: Arc<Metrics>) -> Result<Self> {
        let directory = options.data_dir.clone();
        let saved = load(&directory)?;
        let is_new = saved.is_none();
        let saved = saved.unwrap_or_else(|| Saved {
            format: FORMAT,
            cluster_id: Uuid::new_v4().simple().to_string(),
            next_producer_id: 0,
            topics: Vec::new(),
        });
        let topics = Self {
            flush: options.flush,
            partitions_max: options.partitions_max,
            defaults: Defaults { message_bytes_max: options.message_bytes_max, segment_bytes: options.segment_bytes },
            metrics,
            cluster_id: saved.cluster_id,
            maps: RwLock::default(),
            ledger: Mutex::new(Ledger {
                next_producer_id: saved.next_producer_id,
                producer_ids_until: saved.next_producer_id,
            }),
            directory,
        };
        topics.remove_leftovers(&saved.topics)?;
        let mut greatest_producer_id = -1;
        for saved in saved.topics {
            let logs = topics.open_logs(&saved.name, saved.id, 0..saved.partitions, clean)?;
            for log in &logs {
                greatest_producer_id = greatest_producer_id.max(log.greatest_producer_id());
            }
            topics.insert(&saved.name, saved.id, saved.config, logs);
        }
        {
            // A producer may have brought its id from another broker.
            let mut ledger = lock(&topics.ledger);
            ledger.next_producer_id = ledger.next_producer_id.max(greatest_producer_id.saturating_add(1));
            ledger.producer_ids_until = ledger.next_producer_id;
            if is_new {
                topics.save(&ledger)?;
            }
        }
        Ok(topics)
    }

    /// The cluster's id, made with the data directory.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The topic with this name.
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        read(&self.maps).by_name.get(name).cloned()
    }

    /// The topic with this id.
    pub(crate) fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        read(&self.maps).by_id.get(&id).cloned()
    }

    /// All topics, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        read(&self.maps).by_name.values().cloned().collect()
    }

    /// Whether a topic could be created so; nothing is changed.
    pub(crate) fn check_new(&self, name: &str, partitions: i32) -> std::result::Result<(), TopicError> {
        check_name(name)?;
        if self.by_name(name).is_some() {
            return Err(TopicError::Exists(name.to_owned()));
        }
        self.check_room(name, partitions, partitions)
    }

    /// Creates a topic whose settings have been checked. Blocks.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        config: BTreeMap<String, String>,
    ) -> std::result::Result<Arc<Topic>, TopicError> {
        let ledger = lock(&self.ledger);
        self.check_new(name, partitions)?;
        let id = Uuid::new_v4();
        let logs = self.open_logs(name, id, 0..partitions, true)?;
        let topic = self.insert(name, id, config, logs);
        if let Err(error) = self.save(&ledger) {
            self.forget(&topic);
            self.remove_files(&topic);
            return Err(error.into());
        }
        tracing::info!(topic = name, partitions, %id, "topic created");
        Ok(topic)
    }

    /// Deletes a topic. Blocks.
    pub(crate) fn delete(&self, topic: &Arc<Topic>) -> std::result::Result<(), TopicError> {
        let ledger = lock(&self.ledger);
        if self.by_id(topic.id).is_none() {
            return Err(TopicError::Unknown(topic.name.to_string()));
        }
        self.forget(topic);
        if let Err(error) = self.save(&ledger) {
            let mut maps = write(&self.maps);
            maps.by_name.insert(topic.name.clone(), topic.clone());
            maps.by_id.insert(topic.id, topic.clone());
            return Err(error.into());
        }
        self.remove_files(topic);
        tracing::info!(topic = %topic.name, id = %topic.id, "topic deleted");
        Ok(())
    }

    /// Adds partitions to a topic until it has `count`. Blocks.
    pub(crate) fn add_partitions(
        &self,
        topic: &Topic,
        count: i32,
        only_check: bool,
    ) -> std::result::Result<(), TopicError> {
        let ledger = lock(&self.ledger);
        let present = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        if count <= present {
            let reason = format!("it has {present}, and partitions can't be taken away");
            return Err(TopicError::Partitions { name: topic.name.to_string(), wanted: count, reason });
        }
        self.check_room(&topic.name, count, count - present)?;
        if only_check {
            return Ok(());
        }
        let added = self.open_logs(&topic.name, topic.id, present..count, true)?;
        let before = topic.partitions();
        *write(&topic.partitions) = before.iter().cloned().chain(added).collect();
        if let Err(error) = self.save(&ledger) {
            *write(&topic.partitions) = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// Replaces what was set for a topic; the values have been checked. Blocks.
    pub(crate) fn set_config(
        &self,
        topic: &Topic,
        overrides: BTreeMap<String, String>,
    ) -> std::result::Result<(), TopicError> {
        let ledger = lock(&self.ledger);
        let before = topic.config();
        *write(&topic.config) = Arc::new(TopicConfig::new(overrides, self.defaults));
        if let Err(error) = self.save(&ledger) {
            *write(&topic.config) = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// A producer id that was never given out before, by this broker or an earlier start of it. May block.
    pub(crate) fn new_producer_id(&self) -> Result<i64> {
        let mut ledger = lock(&self.ledger);
        if ledger.next_producer_id >= ledger.producer_ids_until {
            let until = ledger.next_producer_id.saturating_add(PRODUCER_ID_BLOCK);
            let before = std::mem::replace(&mut ledger.producer_ids_until, until);
            if let Err(error) = self.save(&ledger) {
                ledger.producer_ids_until = before;
                return Err(error);
            }
        }
        let id = ledger.next_producer_id;
        ledger.next_producer_id += 1;
        Ok(id)
    }

    /// Closes all partitions; returns whether all are whole. Blocks.
    pub(crate) fn close(&self) -> io::Result<bool> {
        let mut are_whole = true;
        for topic in self.all() {
            for log in topic.partitions().iter() {
                are_whole &= log.close()?;
            }
        }
        Ok(are_whole)
    }

    fn check_room(&self, name: &str, wanted: i32, more: i32) -> std::result::Result<(), TopicError> {
        let refused = |reason: String| TopicError::Partitions { name: name.to_owned(), wanted, reason };
        let more = usize::try_from(more).ok().filter(|more| *more > 0);
        let more = more.ok_or_else(|| refused("at least one is needed".to_owned()))?;
        let present: usize = read(&self.maps).by_name.values().map(|topic| topic.partitions().len()).sum();
        if present + more > self.partitions_max {
            let reason = format!("the broker has {present} partitions and takes {} at most", self.partitions_max);
            return Err(refused(reason));
        }
        Ok(())
    }

    fn insert(
        &self,
        name: &str,
        id: Uuid,
        config: BTreeMap<String, String>,
        logs: Vec<Arc<PartitionLog>>,
    ) -> Arc<Topic> {
        let topic = Arc::new(Topic {
            name: name.into(),
            id,
            config: RwLock::new(Arc::new(TopicConfig::new(config, self.defaults))),
            partitions: RwLock::new(logs.into()),
        });
        let mut maps = write(&self.maps);
        maps.by_name.insert(topic.name.clone(), topic.clone());
        maps.by_id.insert(id, topic.clone());
        topic
    }

    fn forget(&self, topic: &Topic) {
        let mut maps = write(&self.maps);
        maps.by_name.remove(&topic.name);
        maps.by_id.remove(&topic.id);
    }

    /// Removes a topic's files. What can't be removed now is removed at the next start.
    fn remove_files(&self, topic: &Topic) {
        for log in topic.partitions().iter() {
            if let Err(error) = log.delete() {
                tracing::warn!(topic = %topic.name, %error, "files of a deleted topic couldn't be removed");
            }
        }
        let _left = fs::remove_dir_all(self.topic_dir(topic.id));
    }

    fn topic_dir(&self, id: Uuid) -> PathBuf {
        self.directory.join("topics").join(id.to_string())
    }

    fn open_logs(
        &self,
        name: &str,
        id: Uuid,
        partitions: std::ops::Range<i32>,
        clean: bool,
    ) -> Result<Vec<Arc<PartitionLog>>> {
        let topic_dir = self.topic_dir(id);
        let open = |partition: i32| {
            let dir = topic_dir.join(partition.to_string());
            let label = format!("{name}[{partition}]");
            PartitionLog::open(label, dir.clone(), self.flush, clean, self.metrics.clone())
                .map(Arc::new)
                .map_err(Error::storage("open the partition in", &dir))
        };
        let logs = partitions.map(open).collect::<Result<Vec<_>>>()?;
        files::flush_directory_of(&topic_dir.join("0"))
            .and_then(|()| files::flush_directory_of(&topic_dir))
            .map_err(Error::storage("flush", &topic_dir))?;
        Ok(logs)
    }

    /// Removes directories of topics that were deleted, or never came into being, when the process was killed.
    fn remove_leftovers(&self, topics: &[SavedTopic]) -> Result<()> {
        let dir = self.directory.join("topics");
        fs::create_dir_all(&dir).map_err(Error::storage("make", &dir))?;
        for entry in fs::read_dir(&dir).map_err(Error::storage("read", &dir))? {
            let entry = entry.map_err(Error::storage("read", &dir))?;
            let id = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok());
            if id.is_some_and(|id| topics.iter().all(|topic| topic.id != id)) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(Error::storage("remove", &path))?;
            }
        }
        Ok(())
    }

    fn save(&self, ledger: &Ledger) -> Result<()> {
        let topics = self.all().into_iter().map(|topic| SavedTopic {
            name: topic.name.to_string(),
            id: topic.id,
            partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
            config: topic.config().overrides.clone(),
        });
        let saved = Saved {
            format: FORMAT,
            cluster_id: self.cluster_id.clone(),
            next_producer_id: ledger.producer_ids_until,
            topics: topics.collect(),
        };
        let path = self.directory.join(FILE);
        let bytes =
            serde_json::to_vec_pretty(&saved).map_err(io::Error::from).map_err(Error::storage("write", &path))?;
        files::replace(&path, &bytes).map_err(Error::storage("write", &path))
    }
}

fn id_to_text<S: Serializer>(id: &Uuid, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn id_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Uuid, D::Error> {
    Uuid::parse_str(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn load(directory: &Path) -> Result<Option<Saved>> {
    let path = directory.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::storage("read", &path)(error)),
    };
    let saved: Saved = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Damaged { path: path.clone(), reason: error.to_string() })?;
    if saved.format != FORMAT {
        let reason = format!("it has format {}, and this version reads format {FORMAT}", saved.format);
        return Err(Error::Damaged { path, reason });
    }
    Ok(Some(saved))
}

fn check_name(name: &str) -> std::result::Result<(), TopicError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != "..";
    if good { Ok(()) } else { Err(TopicError::Name(name.chars().take(NAME_LEN_MAX + 1).collect())) }
}
