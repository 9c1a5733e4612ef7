//! Where something stands in what a person wrote, for the faults that name it.

use ipnetwork::IpNetwork;
use margay_proto::crd::bgp_filter::Unknown;
use std::{fmt::Display, str::FromStr};

/// How fields are written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// `spec.rules[0].match.asPath` of an object.
    Object,
    /// `rule[0].match.as-path` of a file.
    File,
}

impl Spelling {
    /// `field`, which is spelt as in objects.
    fn spell(self, field: &str) -> String {
        match self {
            Self::Object => field.to_owned(),
            Self::File => kebab(field),
        }
    }
}

/// A table or object, below which faults are named.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: String,
    spelling: Spelling,
}

impl Place {
    /// A filter.
    pub(super) fn of_filter(name: &str, spelling: Spelling) -> Self {
        let path = match spelling {
            Spelling::Object => format!("BGPFilter/{name}: spec"),
            Spelling::File => format!("filter {name:?}:"),
        };
        Self { path, spelling }
    }

    /// Rule number `index`, from 0.
    pub(super) fn rule(&self, index: usize) -> Self {
        let path = match self.spelling {
            Spelling::Object => format!("{}.rules[{index}]", self.path),
            // A file has no numbers to look at: people count from 1.
            Spelling::File => format!("{} rule {}:", self.path, index + 1),
        };
        Self {
            path,
            spelling: self.spelling,
        }
    }

    /// The object in a field.
    pub(super) fn inside(&self, field: &str) -> Self {
        Self {
            path: self.field(field),
            spelling: self.spelling,
        }
    }

    fn field(&self, field: &str) -> String {
        let field = self.spelling.spell(field);
        let between = if self.path.ends_with(':') { " " } else { "." };
        format!("{}{between}{field}", self.path)
    }

    pub(super) fn refuse(&self, field: &str, value: impl Display, remedy: impl Display) -> String {
        format!("{} is `{value}`: {remedy}", self.field(field))
    }

    /// A newer definition's fields mean something that is not done here.
    pub(super) fn knows(&self, unknown: &Unknown) -> Result<(), String> {
        match unknown.keys().next() {
            None => Ok(()),
            Some(field) => Err(format!(
                "{} is not known to this agent's version; upgrade the agents or take the field out",
                self.field(field)
            )),
        }
    }

    pub(super) fn newer(&self, field: &str) -> String {
        format!(
            "{} has a value that is not known to this agent's version; upgrade the agents or choose another",
            self.field(field)
        )
    }

    /// The list; an empty one would match nothing, which nobody means.
    pub(super) fn some<'a, T>(&self, field: &str, list: &'a [T]) -> Result<&'a [T], String> {
        if list.is_empty() {
            return Err(format!(
                "{} is empty; name one at least, or leave it out",
                self.field(field)
            ));
        }
        Ok(list)
    }

    pub(super) fn parse<T: FromStr>(
        &self,
        field: &str,
        text: &str,
        remedy: &str,
    ) -> Result<T, String> {
        text.parse().map_err(|_| self.refuse(field, text, remedy))
    }

    pub(super) fn parse_all<T>(&self, field: &str, texts: &[String]) -> Result<Vec<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        let parse = |text: &String| text.parse().map_err(|e| self.refuse(field, text, e));
        texts.iter().map(parse).collect()
    }

    pub(super) fn networks(&self, field: &str, texts: &[String]) -> Result<Vec<IpNetwork>, String> {
        let remedy = "give an IP address, or a network in CIDR notation";
        let parse = |text: &String| self.parse(field, text, remedy);
        self.some(field, texts)?.iter().map(parse).collect()
    }
}

/// `originAS` as `origin-as`.
fn kebab(camel: &str) -> String {
    let mut text = String::with_capacity(camel.len() + 2);
    let mut after_capital = true;
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !after_capital {
            text.push('-');
        }
        after_capital = c.is_ascii_uppercase();
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_spell_fields_as_the_writer_did() {
        let at = |spelling| {
            let rule = Place::of_filter("f", spelling).rule(0);
            let path = rule.inside("match").inside("asPath");
            (rule.newer("action"), path.refuse("originAS", 0, "no"))
        };
        let (action, origin) = at(Spelling::Object);
        assert!(
            action.starts_with("BGPFilter/f: spec.rules[0].action has "),
            "{action}"
        );
        assert_eq!(
            origin,
            "BGPFilter/f: spec.rules[0].match.asPath.originAS is `0`: no"
        );
        let (action, origin) = at(Spelling::File);
        assert!(
            action.starts_with("filter \"f\": rule 1: action has "),
            "{action}"
        );
        assert_eq!(
            origin,
            "filter \"f\": rule 1: match.as-path.origin-as is `0`: no"
        );
    }
}
