//! Hides secrets in texts that are shown: people do paste passwords into files, and messages end up in logs.

/// Words that make a key's value a secret.
const SECRET_WORDS: [&str; 7] = ["passw", "secret", "token", "credential", "api_key", "apikey", "private_key"];

/// True if a key's name says that its value is a secret, also when it is misspelt.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
        || key.split(['.', '_', '-']).any(|part| strsim::damerau_levenshtein(part, "password") <= 2)
}

/// True for a reference to a secret, which is no secret itself.
pub(crate) fn is_reference(value: &str) -> bool {
    value.starts_with("env:") || value.starts_with("file:")
}

/// The text with secrets replaced by as many `*` as they have bytes: values of keys that sound like secrets
/// (`password: x`, `a.password=x`), and passwords in URLs. Line breaks and lengths stay.
pub(crate) fn mask_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Indentation of a key whose block text (`|` or `>`) goes on in the next lines.
    let mut block: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start().len();
        if let Some(parent) = block {
            if line.trim().is_empty() || indentation > parent {
                out.push_str(&stars_keeping_breaks(line));
                continue;
            }
            block = None;
        }
        let (masked, opens_block) = mask_line(line);
        out.push_str(&mask_urls(&masked));
        if opens_block {
            block = Some(indentation);
        }
    }
    out
}

fn stars_keeping_breaks(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { byte as char } else { '*' }).collect()
}

/// Masks the values of secret keys in one line; true if such a value is a block text.
fn mask_line(line: &str) -> (String, bool) {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut opens_block = false;
    while let Some(at) = rest.find([':', '=']) {
        let (before, after) = rest.split_at(at);
        let key = before.rsplit(|c: char| !(c.is_alphanumeric() || "._-'\"".contains(c))).next().unwrap_or_default();
        let key = key.trim_matches(['\'', '"']);
        out.push_str(before);
        let mut characters = after.chars();
        out.extend(characters.next());
        rest = characters.as_str();
        let value_at = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if !is_secret_key(key) {
            continue;
        }
        let (space, value) = rest.split_at(value_at);
        out.push_str(space);
        let length = value_length(value);
        let (value, tail) = value.split_at(length);
        let bare = value.trim_matches(['\'', '"']);
        if value.starts_with(['|', '>']) {
            opens_block = true;
            out.push_str(value);
        } else if is_reference(bare) || value.starts_with(['{', '[']) {
            out.push_str(value);
        } else {
            out.push_str(&stars_keeping_breaks(value));
        }
        rest = tail;
    }
    out.push_str(rest);
    (out, opens_block)
}

/// Bytes of the value that a line's rest starts with: a quoted text, or up to `,`, `}`, ` #` or the line's end.
fn value_length(value: &str) -> usize {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote) {
            return inner.find(quote).map_or(value.trim_end().len(), |end| end + 2);
        }
    }
    if value.starts_with(['{', '[']) {
        return 1;
    }
    let end = [value.find(", "), value.find('}'), value.find(" #")].into_iter().flatten().min().unwrap_or(value.len());
    value.get(..end).map_or(value.len(), |text| text.trim_end().len())
}

/// Masks what stands between `:` and `@` in the authority of URLs.
fn mask_urls(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority =
            after.find(|c: char| c == '/' || c.is_whitespace() || "'\"?,".contains(c)).unwrap_or(after.len());
        let (authority, tail) = after.split_at(authority);
        match (authority.find(':'), authority.rfind('@')) {
            (Some(colon), Some(host)) if colon < host => {
                out.push_str(authority.get(..=colon).unwrap_or_default());
                out.push_str(&"*".repeat(host - colon - 1));
                out.push_str(authority.get(host..).unwrap_or_default());
            }
            _ => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_disappear_and_lengths_stay() {
        for (text, secret) in [
            ("password: hunter2\n", "hunter2"),
            ("a: { password: \"hunter2\", b: 1 }\n", "hunter2"),
            ("passwrod: hunter2 # c\n", "hunter2"),
            ("connections.postgres.password=hunter2", "hunter2"),
            ("TILLSTREAM__CONNECTIONS__POSTGRES__PASSWORD=hunter2", "hunter2"),
            ("url: postgres://me:hunter2@host/db\n", "hunter2"),
            ("password: |\n  hunter2\n  hunter2\nnext: 1\n", "hunter2"),
            ("\"sasl.password\": 'hunter2'\n", "hunter2"),
        ] {
            let masked = mask_secrets(text);
            assert!(!masked.contains(secret), "{text:?} -> {masked:?}");
            assert_eq!(masked.len(), text.len(), "{text:?} -> {masked:?}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "password: env:PG_PASSWORD\n",
            "password: \"file:/run/secrets/pg\" # c\n",
            "url: postgres://me@host:5432/db\n",
            "connections:\n  kafka: { brokers: embedded }\n",
            "rules: { positive: \"amount > 0\" }\n",
        ] {
            assert_eq!(mask_secrets(text), text);
        }
    }
}
