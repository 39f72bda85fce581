//! Avro's own printing of a schema, as `Schema.toString()` of Avro Java 1.12 gives it.

use std::collections::HashSet;

use serde_json::{Number, Value};

use super::{Field, Kind, Name, Node, NodeId};

/// Prints the schema whose nodes are `nodes`.
pub(super) fn print(nodes: &[Node], root: NodeId) -> String {
    print_with(nodes, root, false)
}

/// Prints the schema with the types that it took from references written out.
pub(super) fn print_inlined(nodes: &[Node], root: NodeId) -> String {
    print_with(nodes, root, true)
}

fn print_with(nodes: &[Node], root: NodeId, inline: bool) -> String {
    let mut printer = Printer { nodes, inline, known: HashSet::new(), out: String::new() };
    printer.node(root, "");
    printer.out
}

struct Printer<'a> {
    nodes: &'a [Node],
    /// Whether types of references are written out where they come first.
    inline: bool,
    known: HashSet<&'a str>,
    out: String,
}

impl<'a> Printer<'a> {
    fn node(&mut self, id: NodeId, namespace: &str) {
        let Some(node) = self.nodes.get(id.index()) else { return };
        if let Some(name) = node.name()
            && ((node.is_external && !self.inline) || !self.known.insert(name.full()))
        {
            text(&qualified(name, namespace), &mut self.out);
            return;
        }
        match &node.kind {
            Kind::Union(branches) => {
                self.list(branches, |printer, branch| printer.node(*branch, namespace));
            }
            Kind::Array(items) => self.collection("array", "items", *items, namespace, node),
            Kind::Map(values) => self.collection("map", "values", *values, namespace, node),
            Kind::Record(record) => {
                self.open(if record.is_error { "error" } else { "record" });
                self.name(&record.name, namespace);
                self.doc(record.doc.as_deref());
                self.key("fields");
                self.list(&record.fields, |printer, field| printer.field(field, record.name.namespace()));
                self.close(node);
            }
            Kind::Enum(enumeration) => {
                self.open("enum");
                self.name(&enumeration.name, namespace);
                self.doc(enumeration.doc.as_deref());
                self.key("symbols");
                self.list(&enumeration.symbols, |printer, symbol| text(symbol, &mut printer.out));
                if let Some(default) = &enumeration.default {
                    self.key("default");
                    text(default, &mut self.out);
                }
                self.close(node);
            }
            Kind::Fixed(fixed) => {
                self.open("fixed");
                self.name(&fixed.name, namespace);
                self.doc(fixed.doc.as_deref());
                self.key("size");
                self.out.push_str(&fixed.size.to_string());
                self.close(node);
            }
            primitive if node.properties.is_empty() => text(primitive.word(), &mut self.out),
            primitive => {
                self.open(primitive.word());
                self.close(node);
            }
        }
    }

    fn collection(&mut self, word: &str, key: &str, inner: NodeId, namespace: &str, node: &'a Node) {
        self.open(word);
        self.key(key);
        self.node(inner, namespace);
        self.close(node);
    }

    fn field(&mut self, field: &'a Field, namespace: &str) {
        self.out.push_str("{\"name\":");
        text(&field.name, &mut self.out);
        self.key("type");
        self.node(field.node, namespace);
        self.doc(field.doc.as_deref());
        if let Some(default) = &field.default {
            self.key("default");
            value(default, &mut self.out);
        }
        if let Some(order) = field.order {
            self.key("order");
            text(order, &mut self.out);
        }
        if !field.aliases.is_empty() {
            self.key("aliases");
            self.list(&field.aliases, |printer, alias| text(alias, &mut printer.out));
        }
        self.properties(&field.properties);
        self.out.push('}');
    }

    fn open(&mut self, word: &str) {
        self.out.push_str("{\"type\":");
        text(word, &mut self.out);
    }

    /// Ends a type: properties, then a named type's aliases.
    fn close(&mut self, node: &'a Node) {
        self.properties(&node.properties);
        if let Some(name) = node.name()
            && !node.aliases().is_empty()
        {
            self.key("aliases");
            self.list(node.aliases(), |printer, alias| text(&qualified(alias, name.namespace()), &mut printer.out));
        }
        self.out.push('}');
    }

    fn name(&mut self, name: &Name, namespace: &str) {
        self.key("name");
        text(name.simple(), &mut self.out);
        if name.namespace() != namespace {
            self.key("namespace");
            text(name.namespace(), &mut self.out);
        }
    }

    fn doc(&mut self, doc: Option<&str>) {
        if let Some(doc) = doc {
            self.key("doc");
            text(doc, &mut self.out);
        }
    }

    fn properties(&mut self, properties: &[(String, Value)]) {
        for (name, property) in properties {
            self.key(name);
            value(property, &mut self.out);
        }
    }

    fn key(&mut self, key: &str) {
        self.out.push(',');
        text(key, &mut self.out);
        self.out.push(':');
    }

    fn list<T>(&mut self, items: &'a [T], mut each: impl FnMut(&mut Self, &'a T)) {
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            each(self, item);
        }
        self.out.push(']');
    }
}

/// A name as it stands inside a namespace: in full unless that is its own. A type named like one of Avro's keeps its
/// namespace, since the bare word would mean Avro's.
fn qualified(name: &Name, namespace: &str) -> String {
    let is_word = Kind::primitive(name.simple()).is_some()
        || matches!(name.simple(), "record" | "enum" | "array" | "map" | "union" | "fixed");
    let inside = name.namespace() == namespace && (namespace.is_empty() || !is_word);
    if inside { name.simple().to_owned() } else { name.full().to_owned() }
}

/// A JSON value as Jackson writes it.
fn value(value_: &Value, out: &mut String) {
    match value_ {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number_) => number(number_, out),
        Value::String(string) => text(string, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                value(item, out);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                text(key, out);
                out.push(':');
                value(item, out);
            }
            out.push('}');
        }
    }
}

fn number(number: &Number, out: &mut String) {
    match number.as_f64() {
        Some(float) if number.is_f64() => out.push_str(&java_double(float)),
        _ => out.push_str(&number.to_string()),
    }
}

/// A double as Java's `Double.toString` writes it: plain from 0.001 to below 10,000,000, else with an exponent.
fn java_double(float: f64) -> String {
    if float == 0.0 {
        return if float.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned();
    }
    if (1e-3..1e7).contains(&float.abs()) {
        let plain = format!("{float}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let scientific = format!("{float:E}");
    match scientific.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => scientific,
    }
}

/// A JSON string as Jackson writes it: control characters with capital hex digits, everything else as it is.
fn text(string: &str, out: &mut String) {
    out.push('"');
    for character in string.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::java_double;

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        for (float, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (1.5e-5, "1.5E-5"),
            (0.001, "0.001"),
            (-2.5e300, "-2.5E300"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(java_double(float), expected);
        }
    }
}
