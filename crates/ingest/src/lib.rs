//! The doors: where transactions come in.
pub(crate) mod coerce;
pub mod files;
pub mod key;
