//! How many random cases are tried.

/// Number of cases: 500, or what `TILLSTREAM_PROPERTY_CASES` says, as `./dev nightly` does.
pub(crate) fn property_cases() -> u32 {
    std::env::var("TILLSTREAM_PROPERTY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500)
}
