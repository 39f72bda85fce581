//! A schema registry in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{SchemaError, Schemas};

/// Schemas by id; the first has the id 1.
#[derive(Debug, Default)]
pub(crate) struct MemorySchemas(Mutex<Vec<Arc<str>>>);

impl MemorySchemas {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schemas for MemorySchemas {
    fn by_id(&self, id: u32) -> Result<Arc<str>, SchemaError> {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        index.and_then(|index| self.lock().get(index).cloned()).ok_or(SchemaError::Unknown { id })
    }

    fn register(&self, _subject: &str, schema: &str) -> Result<u32, SchemaError> {
        let mut texts = self.lock();
        let index = texts.iter().position(|known| **known == *schema).unwrap_or_else(|| {
            texts.push(schema.into());
            texts.len() - 1
        });
        Ok(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1))
    }
}
