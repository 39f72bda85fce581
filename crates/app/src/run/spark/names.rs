//! What Spark knows the project's queries by.

/// `<pipeline>.<query>.g<generation>[.r<rebuild>]@<digest>`, without the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryName {
    /// Query and generation, such as `spend.g1`.
    pub(super) key: String,
    /// How often it was built anew.
    pub(super) rebuild: u32,
    /// Of the plan: a query whose plan has changed is another one to Spark, with the same checkpoint.
    pub(super) digest: String,
}

impl QueryName {
    /// Query and generation as a key.
    pub(super) fn key(query: &str, generation: u32) -> String {
        format!("{query}.g{generation}")
    }

    /// Reads a name without the pipeline; `None` if it isn't one of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (lasting, digest) = text.split_once('@')?;
        let (key, rebuild) = match lasting.rsplit_once(".r") {
            Some((key, rebuild)) => (key, rebuild.parse().ok()?),
            None => (lasting, 0),
        };
        let (_, generation) = key.rsplit_once(".g")?;
        generation.parse::<u32>().ok()?;
        Some(Self { key: key.to_owned(), rebuild, digest: digest.to_owned() })
    }

    /// The query.
    pub(super) fn query(&self) -> &str {
        self.key.rsplit_once(".g").map_or(&*self.key, |(query, _)| query)
    }

    /// The part that names the checkpoint too.
    pub(super) fn lasting(&self) -> String {
        match self.rebuild {
            0 => self.key.clone(),
            count => format!("{}.r{count}", self.key),
        }
    }
}

impl std::fmt::Display for QueryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.lasting(), self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for rebuild in [0, 3] {
            let name = QueryName { key: QueryName::key("spend", 2), rebuild, digest: "0a1b".to_owned() };
            assert_eq!((name.query(), QueryName::parse(&name.to_string())), ("spend", Some(name.clone())));
        }
        for other in ["spend.g1", "spend@0a", "spend.gx@0a", "spend.g1.rx@0a", ""] {
            assert_eq!(QueryName::parse(other), None, "{other}");
        }
    }
}
