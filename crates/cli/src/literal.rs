//! SQL values as people write them on the command line.

use doltswarm::Value;

/// Reads `COLUMN=VALUE`.
pub(crate) fn assignment(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((column, value)) if !column.is_empty() => Ok((column.to_owned(), parse(value))),
        _ => Err(format!("`{text}` is not COLUMN=VALUE")),
    }
}

/// Reads `NULL`, numbers, `'texts'` and `x'blobs'` as SQL does; anything else is a text as it is.
pub(crate) fn parse(text: &str) -> Value {
    if text.eq_ignore_ascii_case("null") {
        return Value::Null;
    }
    if let Ok(integer) = text.parse::<i64>() {
        return Value::Integer(integer);
    }
    // Rust also reads words as numbers, such as "inf" and "nan".
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if let (true, Ok(real)) = (numeric, text.parse::<f64>()) {
        return Value::Real(real);
    }
    if let Some(inside) = quoted(text, "'") {
        return Value::Text(inside.replace("''", "'"));
    }
    let hex = quoted(text, "x'").or_else(|| quoted(text, "X'")).and_then(bytes);
    hex.map_or_else(|| Value::Text(text.to_owned()), Value::Blob)
}

/// Parameters, each as [`parse`] reads it, for the control socket.
pub(crate) fn to_json(params: &[String]) -> Vec<serde_json::Value> {
    params.iter().map(|text| parse(text).to_json()).collect()
}

fn quoted<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_suffix('\'')
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_sql_or_as_they_are() {
        assert_eq!(parse("null"), Value::Null);
        assert_eq!(parse("-9223372036854775808"), Value::Integer(i64::MIN));
        assert_eq!(parse("1.5e3"), Value::Real(1500.0));
        assert_eq!(parse("'it''s 5'"), Value::Text("it's 5".into()));
        assert_eq!(parse("'5'"), Value::Text("5".into()));
        assert_eq!(parse("x'00fF'"), Value::Blob(vec![0, 255]));
        for text in ["", "inf", "Paris", "x'0'", "x'é'", "1-2", "'", "e"] {
            assert_eq!(parse(text), Value::Text(text.into()), "{text}");
        }
    }

    #[test]
    fn assignments_need_a_column() {
        assert_eq!(assignment("a=b=1"), Ok(("a".into(), Value::Text("b=1".into()))));
        assert_eq!(assignment("a="), Ok(("a".into(), Value::Text(String::new()))));
        assert!(assignment("=1").is_err());
        assert!(assignment("a").is_err());
    }
}
