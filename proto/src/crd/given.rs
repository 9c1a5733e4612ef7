//! Refusals that show what was given.
//!
//! The API server prints a CEL rule's message and, of the refused value, its type only. A message may therefore end a clause with
//! ` (given: {CEL})`, where the expressions in braces are strings of a declared `maxLength`: in the definition it becomes a `messageExpression`,
//! and the message without it what is said when that cannot be evaluated. The value of a number cannot be shown, for the API server
//! takes the length of `string(number)` for unbounded and refuses such a definition.

use serde_json::{Value, json};

const BEGIN: &str = " (given: ";

/// Gives every rule below `value` whose message shows values its `messageExpression`.
pub(super) fn expand(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let message = map.get("message").and_then(Value::as_str);
            if let Some((plain, expression)) = message.and_then(parts)
                && map.contains_key("rule")
            {
                map.insert("message".to_owned(), json!(plain));
                map.insert("messageExpression".to_owned(), json!(expression));
            }
            map.values_mut().for_each(expand);
        }
        Value::Array(items) => items.iter_mut().for_each(expand),
        _ => {}
    }
}

/// The message without what was given, and as an expression with it.
fn parts(message: &str) -> Option<(String, String)> {
    let (before, rest) = message.split_once(BEGIN)?;
    let (_, after) = until_closed(rest, ['(', ')'])?;
    let (mut terms, mut left) = (Vec::new(), message);
    while let Some((text, more)) = left.split_once('{') {
        let (expression, more) = until_closed(more, ['{', '}'])?;
        terms.extend([literal(text), format!("({expression})")]);
        left = more;
    }
    terms.push(literal(left));
    Some((format!("{before}{after}"), terms.join(" + ")))
}

/// What is before and after the bracket that closes one opened before.
fn until_closed(text: &str, [open, close]: [char; 2]) -> Option<(&str, &str)> {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == open) - i32::from(c == close);
        depth == 0
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// A CEL string literal.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_in_the_expression_and_not_in_the_message() {
        let mut rule = json!({"properties": {"cidr": {"x-kubernetes-validations": [
            {"rule": "size(self.a) < 3", "message": "it's too long (given: {self.a.find('x{3}')}, not {self.b}): shorten it"},
            {"rule": "self.b", "message": "b must be true"},
        ]}}});
        expand(&mut rule);
        let rules = &rule["properties"]["cidr"]["x-kubernetes-validations"];
        assert_eq!(rules[0]["message"], "it's too long: shorten it");
        assert_eq!(
            rules[0]["messageExpression"],
            "'it\\'s too long (given: ' + (self.a.find('x{3}')) + ', not ' + (self.b) + '): shorten it'"
        );
        assert_eq!(
            rules[1],
            json!({"rule": "self.b", "message": "b must be true"})
        );
    }
}
