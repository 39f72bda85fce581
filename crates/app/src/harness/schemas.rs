//! A schema registry in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{SchemaError, Schemas};

/// Schemas by id; the first has the id 1.
#[derive(Debug, Default)]
pub(crate) struct MemorySchemas(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    texts: Vec<Arc<str>>,
    ids: BTreeMap<String, Vec<u32>>,
}

impl MemorySchemas {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schemas for MemorySchemas {
    fn by_id(&self, id: u32) -> Result<Arc<str>, SchemaError> {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        index.and_then(|index| self.lock().texts.get(index).cloned()).ok_or(SchemaError::Unknown { id })
    }

    fn register(&self, subject: &str, schema: &str) -> Result<u32, SchemaError> {
        let known = &mut *self.lock();
        let index = known.texts.iter().position(|text| **text == *schema).unwrap_or_else(|| {
            known.texts.push(schema.into());
            known.texts.len() - 1
        });
        let id = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        let ids = known.ids.entry(subject.to_owned()).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        Ok(id)
    }

    fn ids(&self, subject: &str) -> Result<Vec<u32>, SchemaError> {
        Ok(self.lock().ids.get(subject).cloned().unwrap_or_default())
    }
}
