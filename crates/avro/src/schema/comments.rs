//! Comments in schema files. Avro Java's parser takes `//` and `/* */`, so people write them.

use std::borrow::Cow;

/// The text with comments turned into spaces, so that lines and columns stay where they were.
pub(super) fn blank(text: &str) -> Cow<'_, str> {
    if !text.contains('/') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_string = false;
    while let Some(character) = rest.next() {
        match (in_string, character, rest.peek()) {
            (true, '\\', _) => {
                out.push(character);
                out.extend(rest.next());
            }
            (_, '"', _) => {
                in_string = !in_string;
                out.push(character);
            }
            (false, '/', Some('/')) => {
                out.push(' ');
                while let Some(skipped) = rest.next_if(|next| *next != '\n') {
                    out.extend(std::iter::repeat_n(' ', skipped.len_utf8()));
                }
            }
            (false, '/', Some('*')) => {
                rest.next();
                out.push_str("  ");
                let mut last = ' ';
                for skipped in rest.by_ref() {
                    out.push(if skipped == '\n' { '\n' } else { ' ' });
                    if last == '*' && skipped == '/' {
                        break;
                    }
                    last = skipped;
                }
            }
            _ => out.push(character),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::blank;

    #[test]
    fn comments_go_and_strings_stay() {
        assert_eq!(blank("{ // x\n \"a\": /* b */ 1 }"), "{     \n \"a\":         1 }");
        assert_eq!(blank(r#"{"doc": "http://x \" // y"}"#), r#"{"doc": "http://x \" // y"}"#);
    }
}
