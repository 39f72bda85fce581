//! The names of topics. A prefix, empty by default, keeps pipelines that share a cluster apart.

/// Raw records of a stream.
pub fn raw(prefix: &str, stream: &str) -> String {
    format!("{prefix}{stream}.raw")
}

/// Accepted records of a stream.
pub fn validated(prefix: &str, stream: &str) -> String {
    format!("{prefix}{stream}.validated")
}

/// Rejected records of a stream, with their reasons.
pub fn rejected(prefix: &str, stream: &str) -> String {
    format!("{prefix}{stream}.rejected")
}

/// Validation's position and watermark per partition of a stream.
pub fn progress(prefix: &str, stream: &str) -> String {
    format!("{prefix}{stream}.progress")
}

/// Results of a query or pattern. The first generation has the plain name.
pub fn result(prefix: &str, query: &str, generation: u32) -> String {
    if generation <= 1 { format!("{prefix}{query}") } else { format!("{prefix}{query}__g{generation}") }
}
