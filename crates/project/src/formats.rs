//! What texts of settings must look like, by the `format` that the schema names.

use std::net::SocketAddr;

use crate::settings::{ByteSize, Duration, EMBEDDED, Flush, Retention, Secret};

/// What is wrong with a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The part that is a secret in plain text.
    pub(crate) secret: Option<String>,
}

impl Complaint {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()), secret: None }
    }
}

/// Checks a text by a format's name. A format that isn't known is right.
pub(crate) fn check(format: &str, text: &str) -> Result<(), Complaint> {
    let expected = |result: Result<(), String>, help: &str| result.map_err(|message| Complaint::new(message, help));
    match format {
        "duration-text" => expected(
            text.parse::<Duration>().map(drop),
            "write a whole number with us, ms, s, min, h or d, such as `5s` or `1h 30min`",
        ),
        "size-text" => expected(
            text.parse::<ByteSize>().map(drop),
            "write a whole number with kB, MB, GB, KiB, MiB or GiB, such as `64MB`",
        ),
        "retention-text" => {
            expected(text.parse::<Retention>().map(drop), "write a duration such as `7d`, or `forever`")
        }
        "flush-text" => {
            expected(text.parse::<Flush>().map(drop), "write `each`, a duration such as `100ms`, or `system`")
        }
        "secret-reference" => secret(text),
        "identifier" => identifier(text),
        "path" if text.trim().is_empty() => {
            Err(Complaint::new("the path is empty", "name a file in the project directory"))
        }
        "delimiter" if text.len() != 1 => Err(Complaint::new(
            format!("`{text}` is no delimiter"),
            "write one ASCII character in quotes, such as \";\"",
        )),
        "topic-prefix" => topic_prefix(text),
        "brokers" => brokers(text),
        "address" => address(text),
        "registry-url" => url(text, &["http", "https"], "https://registry.example.com", true),
        "postgres-url" => postgres_url(text),
        "spark-url" => url(text, &["sc"], "sc://localhost:15002", false),
        "column-type" => match crate::types::parse(text) {
            Some(_) => Ok(()),
            None => Err(Complaint::new(
                format!("`{text}` is no type of a column"),
                format!("write one of {}", crate::types::NAMES),
            )),
        },
        _ => Ok(()),
    }
}

fn secret(text: &str) -> Result<(), Complaint> {
    text.parse::<Secret>().map(drop).map_err(|message| Complaint {
        message,
        help: Some(
            "put the secret into an environment variable and write `env:NAME`, or into a file and write `file:PATH`"
                .into(),
        ),
        secret: Some(text.to_owned()),
    })
}

/// PostgreSQL cuts longer names off; `__g2` and the like are added to names of tables, so some bytes are left for that.
pub(crate) const IDENTIFIER_BYTES_MAX: usize = 63 - SUFFIX_BYTES;
const SUFFIX_BYTES: usize = 13;

/// Names become topics, tables, columns of metrics and words in SQL.
pub(crate) fn identifier(text: &str) -> Result<(), Complaint> {
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts_right = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_right || !text.chars().all(right) {
        let help = match repaired(text) {
            Some(better) => format!("a name is made of a-z, 0-9 and _, and starts with a letter: `{better}` would do"),
            None => "a name is made of a-z, 0-9 and _, and starts with a letter".into(),
        };
        return Err(Complaint::new(format!("`{text}` can't be a name"), help));
    }
    if text.len() > IDENTIFIER_BYTES_MAX {
        return Err(Complaint::new(
            format!("the name `{text}` is too long: it has {} characters", text.len()),
            format!(
                "{IDENTIFIER_BYTES_MAX} are allowed, since PostgreSQL's names end at 63 and versions of a table add to them"
            ),
        ));
    }
    if text.contains("__") {
        let better = text.replace("__", "_");
        return Err(Complaint::new(
            format!("`{text}` can't be a name"),
            format!("`__` sets versions of a table and variables' parts apart; write `{better}`"),
        ));
    }
    Ok(())
}

/// The nearest name that would do.
pub(crate) fn repaired(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut previous = ' ';
    for c in text.trim().chars() {
        match c {
            'A'..='Z' => {
                if previous.is_ascii_lowercase() || previous.is_ascii_digit() {
                    out.push('_');
                }
                out.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => out.push(c),
            '-' | ' ' | '.' | '_' if !out.ends_with('_') => out.push('_'),
            _ => {}
        }
        previous = c;
    }
    let out = out.trim_matches('_').to_owned();
    (identifier_is_plain(&out)).then_some(out)
}

fn identifier_is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= IDENTIFIER_BYTES_MAX
}

fn topic_prefix(text: &str) -> Result<(), Complaint> {
    let right = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.chars().all(right) && text.len() <= 100 {
        return Ok(());
    }
    Err(Complaint::new(
        format!("`{text}` can't start the name of a topic"),
        "Kafka's names are made of letters, digits, `.`, `_` and `-`; a prefix may have up to 100",
    ))
}

fn host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_right = !host.is_empty() && !host.contains(['/', ' ', '@']);
    host_right && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn brokers(text: &str) -> Result<(), Complaint> {
    if text == EMBEDDED {
        return Ok(());
    }
    match text.split(',').map(str::trim).find(|broker| !host_port(broker)) {
        None => Ok(()),
        Some(wrong) => Err(Complaint::new(
            format!("`{wrong}` is no address of a broker"),
            "write `embedded`, or host:port,host:port such as `kafka-1:9092,kafka-2:9092`",
        )),
    }
}

fn address(text: &str) -> Result<(), Complaint> {
    let named = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', ' ', ':', '@']) && port.parse::<u16>().is_ok()
    });
    if named || text.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    let help = match text.parse::<u16>() {
        Ok(port) => format!("write an address and a port, such as `127.0.0.1:{port}`"),
        Err(_) => {
            "write an address and a port, such as `127.0.0.1:7600`; `0.0.0.0:7600` can be reached from everywhere"
                .into()
        }
    };
    Err(Complaint::new(format!("`{text}` is no address to listen on"), help))
}

/// User and password of a URL's authority, if it has them.
fn user_info(text: &str) -> Option<(&str, Option<&str>)> {
    let (_, after) = text.split_once("://")?;
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, _) = authority.rsplit_once('@')?;
    Some(user.split_once(':').map_or((user, None), |(name, password)| (name, Some(password))))
}

fn url(text: &str, schemes: &[&str], example: &str, embedded: bool) -> Result<(), Complaint> {
    if embedded && text == EMBEDDED {
        return Ok(());
    }
    if let Some((user, password)) = user_info(text) {
        return Err(Complaint {
            message: "a URL here can't hold a user or a password".into(),
            help: Some("write them as `username: …` and `password: env:NAME` beside the URL".into()),
            secret: Some(password.unwrap_or(user).to_owned()),
        });
    }
    let right = text.split_once("://").is_some_and(|(scheme, rest)| {
        schemes.contains(&scheme) && !rest.is_empty() && !rest.starts_with(['/', ':']) && !rest.contains(' ')
    });
    if right {
        return Ok(());
    }
    let or_embedded = if embedded { "`embedded`, or " } else { "" };
    Err(Complaint::new(
        format!("`{text}` is no address of this kind"),
        format!("write {or_embedded}a URL such as `{example}`"),
    ))
}

fn postgres_url(text: &str) -> Result<(), Complaint> {
    let inline_password = |secret: &str| {
        Complaint {
        message: "the URL holds a password".into(),
        help: Some(
            "take it out of the URL and write `password: env:NAME` (or `file:PATH`) beside it: project files are shared, passwords aren't"
                .into(),
        ),
        secret: Some(secret.to_owned()),
    }
    };
    if text == EMBEDDED {
        return Ok(());
    }
    if let Some((_, Some(password))) = user_info(text) {
        return Err(inline_password(password));
    }
    let parameters = text.split_once('?').map(|(_, parameters)| parameters).unwrap_or_default();
    if let Some(password) = parameters.split('&').find_map(|parameter| parameter.strip_prefix("password=")) {
        return Err(inline_password(password));
    }
    if let Some(password) = text.split_whitespace().find_map(|word| word.strip_prefix("password=")) {
        return Err(inline_password(password));
    }
    let right = text.split_once("://").is_some_and(|(scheme, rest)| {
        ["postgres", "postgresql"].contains(&scheme) && !rest.is_empty() && !rest.contains(' ')
    });
    if right {
        return Ok(());
    }
    Err(Complaint::new(
        format!("`{text}` is no address of a PostgreSQL server"),
        "write `embedded`, or a URL such as `postgres://user@host:5432/database`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(format: &str, text: &str) -> Complaint {
        check(format, text).unwrap_err()
    }

    #[test]
    fn right_texts_pass() {
        for (format, text) in [
            ("brokers", "embedded"),
            ("brokers", "a:1,[::1]:9092"),
            ("address", "127.0.0.1:0"),
            ("address", "[::]:7600"),
            ("address", "localhost:80"),
            ("registry-url", "https://r.example.com/path"),
            ("postgres-url", "postgres://me@db:5432/x?sslmode=require"),
            ("postgres-url", "postgresql:///x"),
            ("spark-url", "sc://localhost:15002"),
            ("identifier", "spend_by_category2"),
            ("secret-reference", "env:X"),
            ("topic-prefix", ""),
        ] {
            assert_eq!(check(format, text), Ok(()), "{format} {text}");
        }
    }

    #[test]
    fn wrong_texts_are_explained() {
        for (format, text) in [
            ("brokers", "kafka"),
            ("brokers", "http://kafka:9092"),
            ("brokers", "a:1,,b:2"),
            ("address", "7600"),
            ("registry-url", "registry:8081"),
            ("postgres-url", "db:5432"),
            ("spark-url", "spark://host:7077"),
            ("identifier", "1st"),
            ("identifier", "a__b"),
            ("topic-prefix", "a b"),
            ("path", " "),
            ("column-type", "decimal"),
        ] {
            assert!(wrong(format, text).help.is_some(), "{format} {text}");
        }
    }

    #[test]
    fn passwords_in_urls_are_found_and_never_repeated() {
        for text in
            ["postgres://me:hunter2@db/x", "postgres://me@db/x?password=hunter2&a=b", "host=db password=hunter2"]
        {
            let complaint = wrong("postgres-url", text);
            assert_eq!(complaint.secret.as_deref(), Some("hunter2"));
            assert!(!format!("{}{:?}", complaint.message, complaint.help).contains("hunter2"));
        }
        assert_eq!(wrong("registry-url", "https://u:hunter2@r").secret.as_deref(), Some("hunter2"));
    }

    #[test]
    fn names_are_repaired() {
        assert!(wrong("identifier", "SpendByCategory").help.unwrap().contains("`spend_by_category`"));
        assert!(wrong("identifier", "spend-by category").help.unwrap().contains("`spend_by_category`"));
        assert!(wrong("identifier", &"a".repeat(64)).message.contains("too long"));
    }
}
