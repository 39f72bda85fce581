//! Compatibility levels and modes: of a subject, of its context, or global.

use std::str::FromStr;

use avro::compatibility::Level;
use serde_json::{Map, Value as Json};

use super::delete::check_writable;
use super::keys::Key;
use super::state::State;
use super::values::{ConfigValue, Event, ModeValue, Value};
use super::{Decision, subject};
use crate::error::Error;

/// What may be done with a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    ReadWrite,
    /// Reading.
    ReadOnly,
    /// Reading, and no subject's own mode counts. Global only.
    ReadOnlyOverride,
    /// Taking over schemas with their ids and versions, unchecked.
    Import,
    /// Another registry takes the writes; here it means reading.
    Forward,
}

impl Mode {
    /// Confluent's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "READWRITE",
            Self::ReadOnly => "READONLY",
            Self::ReadOnlyOverride => "READONLY_OVERRIDE",
            Self::Import => "IMPORT",
            Self::Forward => "FORWARD",
        }
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::ReadWrite, Self::ReadOnly, Self::ReadOnlyOverride, Self::Import, Self::Forward]
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(text))
            .ok_or_else(Error::invalid_mode)
    }
}

/// The place of settings: the default context's subject is the global one.
pub fn place(subject: Option<&str>) -> Option<String> {
    subject.map(subject::normalize).filter(|subject| !subject.is_empty()).map(str::to_owned)
}

impl State {
    /// The config set at exactly this place; the global one has a value even if nothing is set.
    pub fn config(&self, at: &Option<String>) -> Option<ConfigValue> {
        let config = self.configs.get(at).cloned();
        let config = if at.is_none() { Some(config.unwrap_or_default()) } else { config };
        config.map(|config| self.with_level(config))
    }

    /// The config that holds for a subject: its own, its context's, the one for all contexts, or the default.
    pub fn config_in_scope(&self, at: &Option<String>) -> ConfigValue {
        let config = self.scopes(at).iter().find_map(|scope| self.configs.get(scope)).cloned();
        self.with_level(config.unwrap_or_default())
    }

    /// The level that holds for a subject.
    pub fn level_in_scope(&self, subject: &str) -> Level {
        let config = self.config_in_scope(&Some(subject.to_owned()));
        config.compatibility_level.and_then(|level| level.parse().ok()).unwrap_or(self.default_level)
    }

    /// The mode set at exactly this place; the global one is READWRITE if nothing is set.
    pub fn mode(&self, at: &Option<String>) -> Option<Mode> {
        let mode = self.modes.get(at).and_then(|mode| mode.mode.parse().ok());
        if at.is_none() { Some(mode.unwrap_or(Mode::ReadWrite)) } else { mode }
    }

    /// The mode that holds for a subject.
    pub fn mode_in_scope(&self, subject: &str) -> Mode {
        if let Some(Mode::ReadOnlyOverride) = self.mode(&None) {
            return Mode::ReadOnlyOverride;
        }
        let scopes = self.scopes(&Some(subject.to_owned()));
        scopes.iter().find_map(|scope| self.modes.get(scope)?.mode.parse().ok()).unwrap_or(Mode::ReadWrite)
    }

    /// Whether the subject may only be read.
    pub fn is_read_only(&self, subject: &str) -> bool {
        matches!(self.mode_in_scope(subject), Mode::ReadOnly | Mode::ReadOnlyOverride)
    }

    fn with_level(&self, mut config: ConfigValue) -> ConfigValue {
        config.compatibility_level.get_or_insert_with(|| self.default_level.to_string());
        config
    }

    fn scopes(&self, at: &Option<String>) -> Vec<Option<String>> {
        let context = at.as_deref().map_or(subject::DEFAULT_CONTEXT, subject::context);
        let context = if context == subject::DEFAULT_CONTEXT { None } else { Some(subject::of_context(context)) };
        vec![at.clone(), context, Some(subject::GLOBAL_SUBJECT.to_owned())]
    }
}

/// Sets the config at a place: what the request holds replaces what is there, what it leaves out stays.
///
/// # Errors
/// 42203 for a level that does not exist, 42205 read-only or a setting that this registry does not know, 42208.
pub fn set_config(
    state: &State,
    at: &Option<String>,
    request: &Map<String, Json>,
) -> Result<Decision<ConfigValue>, Error> {
    let name = at.as_deref().unwrap_or_default();
    let level = match request.get("compatibility") {
        None | Some(Json::Null) => None,
        Some(Json::String(level)) => Some(level.parse::<Level>().map_err(|_| Error::invalid_level())?),
        Some(_) => return Err(Error::invalid_level()),
    };
    if !subject::is_valid(name, true) {
        return Err(Error::invalid_subject(name));
    }
    check_writable(state, name)?;
    let mut config = state.configs.get(at).cloned().unwrap_or_default();
    config.subject.clone_from(at);
    for (key, value) in request.iter().filter(|(key, value)| *key != "compatibility" && !value.is_null()) {
        match (key.as_str(), value) {
            ("normalize", Json::Bool(_)) => {
                config.others.insert(key.clone(), value.clone());
            }
            // Asking for what holds anyway is no request.
            ("validateFields" | "validateRules", Json::Bool(false)) | ("validateNewSchemas", Json::Bool(true)) => {}
            ("compatibilityLevel", _) => {
                return Err(Error::new(42203, "compatibilityLevel is what GET answers; write compatibility"));
            }
            (
                "alias"
                | "aliasForDeks"
                | "compatibilityPolicy"
                | "compatibilityGroup"
                | "defaultMetadata"
                | "overrideMetadata"
                | "defaultRuleSet"
                | "overrideRuleSet"
                | "normalize"
                | "validateFields"
                | "validateRules"
                | "validateNewSchemas",
                _,
            ) => {
                return Err(Error::not_permitted(format!(
                    "the setting {key} is not supported by this registry; leave it out"
                )));
            }
            // Unknown fields are ignored, as everywhere.
            _ => {}
        }
    }
    if let Some(level) = level {
        config.compatibility_level = Some(level.to_string());
    }
    let event = Event { key: Key::Config { subject: at.clone() }, value: Some(Value::Config(config.clone())) };
    Ok(Decision { events: vec![event], reply: config })
}

/// Removes the config at a place, so that the next wider one holds, and gives what was there.
///
/// # Errors
/// 40401 when the subject has no config, 42205 read-only.
pub fn delete_config(state: &State, at: &Option<String>) -> Result<Decision<ConfigValue>, Error> {
    let name = at.as_deref().unwrap_or_default();
    let old = state.config(at).ok_or_else(|| Error::subject_not_found(name))?;
    check_writable(state, name)?;
    Ok(Decision { events: vec![Event::tombstone(Key::Config { subject: at.clone() })], reply: old })
}

/// Sets the mode at a place. IMPORT needs a place without live schemas, unless `force`.
///
/// # Errors
/// 42204 for a mode that does not exist or can't be set here, 42205 when there are schemas, 42206 when soft-deleted ones are referred to.
pub fn set_mode(state: &State, at: &Option<String>, mode: &str, force: bool) -> Result<Decision<Mode>, Error> {
    let name = at.as_deref().unwrap_or_default();
    if !subject::is_valid(name, true) {
        return Err(Error::invalid_subject(name));
    }
    let mode: Mode = mode.parse()?;
    if mode == Mode::Forward || (mode == Mode::ReadOnlyOverride && at.is_some()) {
        return Err(Error::new(42204, format!("Mode {} can't be set here", mode.name())));
    }
    let mut events = Vec::new();
    if mode == Mode::Import && state.mode_in_scope(name) != Mode::Import && !force {
        events.extend(emptied(state, at)?);
    }
    let value = ModeValue { subject: at.clone(), mode: mode.name().to_owned() };
    events.push(Event { key: Key::Mode { subject: at.clone() }, value: Some(Value::Mode(value)) });
    Ok(Decision { events, reply: mode })
}

/// Removes the mode at a place, and gives what was there.
///
/// # Errors
/// 40401 when the subject has no mode.
pub fn delete_mode(state: &State, at: &Option<String>) -> Result<Decision<Mode>, Error> {
    let old = state.mode(at).ok_or_else(|| Error::subject_not_found(at.as_deref().unwrap_or_default()))?;
    Ok(Decision { events: vec![Event::tombstone(Key::Mode { subject: at.clone() })], reply: old })
}

/// Events that remove what is left of soft-deleted versions at a place, so that ids and versions can be chosen anew.
fn emptied(state: &State, at: &Option<String>) -> Result<Vec<Event>, Error> {
    let belongs = |subject: &str| match at.as_deref() {
        None => subject::context(subject) == subject::DEFAULT_CONTEXT,
        Some(place) if subject::is_context(place) => subject::of_context(subject::context(subject)) == place,
        Some(place) => subject == place,
    };
    let mut events = Vec::new();
    for (name, rows) in state.subjects.iter().filter(|(name, _)| belongs(name)) {
        for (version, row) in rows {
            if !row.deleted {
                return Err(Error::not_permitted("Cannot import since found existing subjects"));
            }
            if !state.referrers(name, *version, true).is_empty() {
                return Err(Error::referenced(name, *version));
            }
            if events.is_empty() {
                events.extend(state.remember_ids(subject::context(name)));
            }
            events.push(Event::tombstone(Key::Schema { subject: name.clone(), version: *version }));
        }
    }
    let value = serde_json::json!({ "subject": at });
    events.push(Event { key: Key::ClearSubject { subject: at.clone() }, value: Some(Value::Other(value)) });
    Ok(events)
}
