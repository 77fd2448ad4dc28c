//! Fields of a JSON answer, made safe and short.

use serde_json::Value;

/// How many digits of an id people see.
const SHORT: usize = 10;

/// Makes control characters visible: a commit message of another peer must not move the cursor.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction_mark(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that turn the direction of the text around them.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of an id.
pub(crate) fn short(id: &str) -> String {
    clean(&id.chars().take(SHORT).collect::<String>())
}

/// A text field; empty where it is missing or null.
pub(crate) fn text(value: &Value, key: &str) -> String {
    clean(value[key].as_str().unwrap_or_default())
}

/// A number field; zero where it is missing.
pub(crate) fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

/// A flag; false where it is missing.
pub(crate) fn flag(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or_default()
}

/// A list field; empty where it is missing.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    items(&value[key])
}

/// The items of a list.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A list of texts.
pub(crate) fn texts(value: &Value, key: &str) -> Vec<String> {
    list(value, key).iter().filter_map(Value::as_str).map(clean).collect()
}

/// `1 row`, `2 rows`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A SQL value from its JSON, as in a table.
pub(crate) fn sql_value(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => clean(text),
        other => blob(other).unwrap_or_else(|| clean(&other.to_string())),
    }
}

/// A blob as SQL writes it, where `value` is one.
pub(crate) fn blob(value: &Value) -> Option<String> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    Some(format!("x'{}'", clean(object.get("blob")?.as_str()?)))
}

/// A row from its JSON object, in one line: `name=Paris, country=FR`. A row that is not there is
/// `(no row)`.
pub(crate) fn row(value: &Value) -> String {
    let Some(object) = value.as_object() else {
        return if value.is_null() { "(no row)".to_owned() } else { sql_value(value) };
    };
    let cells: Vec<String> = object
        .iter()
        .map(|(column, cell)| format!("{}={}", clean(column), sql_value(cell)))
        .collect();
    cells.join(", ")
}

/// How many characters of one value a line shows.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// As [`row`], with large values cut short.
pub(crate) fn short_row(value: &Value) -> String {
    let Some(object) = value.as_object() else { return row(value) };
    let cells = object.iter().map(|(column, cell)| {
        let text = sql_value(cell);
        let characters = text.chars().count();
        if characters <= SHOWN_CHARACTERS_MAX {
            return format!("{}={text}", clean(column));
        }
        let start: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
        format!("{}={start}… ({characters} characters)", clean(column))
    });
    cells.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{202e}é"), "a\\u{1b}[2Jb\\nc\\u{202e}é");
    }

    #[test]
    fn values_read_like_sql() {
        assert_eq!(sql_value(&json!(null)), "NULL");
        assert_eq!(sql_value(&json!({ "blob": "00ff" })), "x'00ff'");
        assert_eq!(row(&json!({ "a": 1, "b": null })), "a=1, b=NULL");
        assert_eq!(row(&json!(null)), "(no row)");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(0, "row"), "0 rows");
    }
}
