//! Secrets are never in project files: they are named there, and read when they are needed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use model::{Classified, Domain, Retry};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a secret is: `env:NAME` or `file:PATH` (relative to the project directory).
///
/// This is a reference and may be shown; the secret itself comes from [`Secret::resolve`] and can't be printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// An environment variable.
    Environment(String),
    /// A file; one line break at its end doesn't count.
    File(PathBuf),
}

/// A secret that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable isn't there.
    #[error("the environment variable `{name}`, which `{setting}` names, isn't set; set it, or change the setting")]
    NotSet {
        /// The setting that names it.
        setting: String,
        /// The variable.
        name: String,
    },
    /// The environment variable isn't text.
    #[error("the environment variable `{name}`, which `{setting}` names, isn't valid UTF-8")]
    NotText {
        /// The setting that names it.
        setting: String,
        /// The variable.
        name: String,
    },
    /// The file can't be read.
    #[error("the secret file `{}`, which `{setting}` names, can't be read: {source}", path.display())]
    Unreadable {
        /// The setting that names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Classified for SecretError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Secret {
    /// The secret itself.
    ///
    /// `setting` is the path of the setting, for the message; `directory` the project directory; `environment` gives a
    /// variable's value (take [`process_environment`]).
    ///
    /// # Errors
    /// When the variable isn't set or the file can't be read.
    pub fn resolve(
        &self,
        setting: &str,
        directory: &Path,
        environment: &dyn Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<SecretString, SecretError> {
        let setting = setting.to_owned();
        match self {
            Self::Environment(name) => match environment(name) {
                None => Err(SecretError::NotSet { setting, name: name.clone() }),
                Some(value) => match value.into_string() {
                    Ok(value) => Ok(SecretString::from(value)),
                    Err(_) => Err(SecretError::NotText { setting, name: name.clone() }),
                },
            },
            Self::File(path) => {
                let path = directory.join(path);
                match std::fs::read_to_string(&path) {
                    Ok(mut text) => {
                        if text.ends_with('\n') {
                            text.pop();
                            if text.ends_with('\r') {
                                text.pop();
                            }
                        }
                        Ok(SecretString::from(text))
                    }
                    Err(source) => Err(SecretError::Unreadable { setting, path, source }),
                }
            }
        }
    }
}

/// The environment of this process, for [`Secret::resolve`].
pub fn process_environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// The pipeline's settings in an environment: variables that start with `TILLSTREAM__`.
pub fn setting_variables(variables: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    variables.filter(|(name, _)| name.starts_with(crate::merge::ENVIRONMENT_PREFIX)).collect()
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.trim().is_empty() => Ok(Self::Environment(name.trim().to_owned())),
            Some(("file", path)) if !path.trim().is_empty() => Ok(Self::File(PathBuf::from(path.trim()))),
            // The text isn't repeated: it may be the secret.
            _ => Err("a secret isn't written here but named, as `env:NAME` or `file:PATH`".into()),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "secret-reference", "pattern": "^(env|file):.+$",
            "description": "Where a secret is: env:NAME (an environment variable) or file:PATH (relative to the project directory). Secrets are never written into project files.",
            "examples": ["env:POSTGRES_PASSWORD", "file:/run/secrets/postgres"]
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_is_read_from_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pw"), "hunter2\n").unwrap();
        let none = |_: &str| None;
        let some = |name: &str| (name == "PW").then(|| "hunter2".into());
        let file = "file:pw".parse::<Secret>().unwrap();
        let resolved = file.resolve("a.password", directory.path(), &none).unwrap();
        assert_eq!(resolved.expose_secret(), "hunter2");
        assert!(!format!("{resolved:?} {file:?}").contains("hunter2"));
        let variable = "env:PW".parse::<Secret>().unwrap();
        assert_eq!(variable.resolve("a.password", directory.path(), &some).unwrap().expose_secret(), "hunter2");
        let error = variable.resolve("a.password", directory.path(), &none).unwrap_err();
        assert!(error.to_string().contains("`PW`"), "{error}");
    }

    #[test]
    fn a_plain_secret_is_refused_without_repeating_it() {
        for text in ["hunter2", "env:", "file: ", "hunter:2", ""] {
            let error = text.parse::<Secret>().unwrap_err();
            assert!(!error.contains("hunter"), "{error}");
        }
    }
}
