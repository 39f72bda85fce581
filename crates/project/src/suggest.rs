//! "Did you mean".

/// The name among `candidates` that `wrong` most likely stands for, if one is near enough.
pub(crate) fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let normal = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let wrong = normal(wrong);
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let other = normal(candidate);
        let closeness = strsim::normalized_damerau_levenshtein(&wrong, &other);
        // A plural, or a word more or less, is a likely slip as well.
        let contained = wrong.len() >= 3 && other.len() >= 3 && (wrong.contains(&other) || other.contains(&wrong));
        let closeness = if contained { closeness.max(0.65) } else { closeness };
        if closeness >= 0.6 && best.is_none_or(|(greatest, _)| closeness > greatest) {
            best = Some((closeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `` did you mean `x`? `` or the list of what there is, or nothing when there is nothing.
pub(crate) fn help<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>, what: &str) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(wrong, candidates.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if candidates.is_empty() => None,
        None => Some(format!("{what}: {}", list(&candidates))),
    }
}

/// `a`, `b` and `c`, cut off when there are many.
pub(crate) fn list(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 20;
    let mut shown: Vec<String> = names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    if names.len() > SHOWN_MAX {
        shown.push(format!("{} more", names.len() - SHOWN_MAX));
    }
    match shown.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "none".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let names = ["lateness", "duplicates", "event_time", "key"];
        assert_eq!(nearest("latness", names), Some("lateness"));
        assert_eq!(nearest("event-time", names), Some("event_time"));
        assert_eq!(nearest("eventtime", names), Some("event_time"));
        assert_eq!(nearest("duplicate", names), Some("duplicates"));
        assert_eq!(nearest("colour", names), None);
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(list(&[]), "none");
    }
}
