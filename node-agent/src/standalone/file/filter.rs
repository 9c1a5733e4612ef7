//! `[[filter]]`: the rules of a BGPFilter object, spelt as the rest of the file is: `next-hops` for `nextHops`, `pod-block` for `PodBlock`.

use margay_proto::crd::{BGPFilterSpec, FilterRule};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::{Table, Value};

/// Rules under a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::standalone) struct Filter {
    pub(in crate::standalone) name: String,
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule(FilterRule);

impl Filter {
    pub(in crate::standalone) fn spec(&self) -> BGPFilterSpec {
        BGPFilterSpec {
            rules: self.rule.iter().map(|rule| rule.0.clone()).collect(),
            ..BGPFilterSpec::default()
        }
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Table::deserialize(deserializer)?;
        let rule = as_in_objects(Value::Table(table)).map_err(D::Error::custom)?;
        let rule = FilterRule::deserialize(rule);
        rule.map(Self)
            .map_err(|error| D::Error::custom(error.message()))
    }
}

/// Names of fields in the spelling of objects, and the words that fields of [`WORDS`] hold.
fn as_in_objects(value: Value) -> Result<Value, String> {
    let table = match value {
        Value::Table(table) => table,
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.into_iter().map(as_in_objects).collect();
            return items.map(Value::Array);
        }
        other => return Ok(other),
    };
    let mut renamed = Table::new();
    for (key, value) in table {
        let value = match WORDS.contains(&key.as_str()) {
            true => words(value)?,
            false => as_in_objects(value)?,
        };
        renamed.insert(camel(&key)?, value);
    }
    Ok(Value::Table(renamed))
}

fn words(value: Value) -> Result<Value, String> {
    match value {
        Value::String(word) => pascal(&word).map(Value::String),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.into_iter().map(words).collect();
            items.map(Value::Array)
        }
        other => Ok(other),
    }
}

/// Fields that hold one of a few words.
const WORDS: [&str; 3] = ["action", "sources", "type"];

/// `origin-as` as `originAS`.
fn camel(key: &str) -> Result<String, String> {
    let mut parts = lower(key)?.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    Ok(parts.fold(first, |name, part| match part {
        "as" => name + "AS",
        part => name + &capital(part),
    }))
}

/// `pod-block` as `PodBlock`.
fn pascal(word: &str) -> Result<String, String> {
    Ok(lower(word)?.split('-').map(capital).collect())
}

fn capital(part: &str) -> String {
    let mut letters = part.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The text, if it is spelt as everything in the file is.
fn lower(text: &str) -> Result<&str, String> {
    match text.contains(|c: char| c.is_ascii_uppercase()) {
        false => Ok(text),
        true => Err(format!(
            "`{text}` is spelt with capitals; write small letters, with hyphens between words"
        )),
    }
}
