//! Label selectors: parsed once, canonical, so that equal selectors are one set in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A label selector; without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(BTreeSet<Requirement>);

/// One requirement; all must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Requirement {
    In(String, BTreeSet<String>),
    /// Holds as well where the label is missing.
    NotIn(String, BTreeSet<String>),
    Exists(String),
    DoesNotExist(String),
}

/// A requirement that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value:?}: {remedy}")]
pub struct InvalidSelector {
    /// Path below the selector.
    pub field: String,
    /// What stands there.
    pub value: String,
    /// What should.
    pub remedy: &'static str,
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = InvalidSelector;

    fn try_from(selector: &LabelSelector) -> Result<Self, InvalidSelector> {
        let labels = selector.match_labels.iter().flatten();
        let mut requirements: BTreeSet<_> = labels
            .map(|(key, value)| Requirement::In(key.clone(), BTreeSet::from([value.clone()])))
            .collect();
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            requirements.insert(Requirement::parse(expression, index)?);
        }
        Ok(Self(requirements))
    }
}

impl Requirement {
    fn parse(expression: &LabelSelectorRequirement, index: usize) -> Result<Self, InvalidSelector> {
        let key = expression.key.clone();
        let values: BTreeSet<_> = expression.values.iter().flatten().cloned().collect();
        let invalid = |field, value: &str, remedy| InvalidSelector {
            field: format!("matchExpressions[{index}].{field}"),
            value: value.to_owned(),
            remedy,
        };
        if key.is_empty() {
            return Err(invalid("key", &key, "name the label"));
        }
        match (expression.operator.as_str(), values.is_empty()) {
            ("In", false) => Ok(Self::In(key, values)),
            ("NotIn", false) => Ok(Self::NotIn(key, values)),
            ("Exists", true) => Ok(Self::Exists(key)),
            ("DoesNotExist", true) => Ok(Self::DoesNotExist(key)),
            ("In" | "NotIn", true) => Err(invalid(
                "values",
                "",
                "give at least one value for In or NotIn",
            )),
            ("Exists" | "DoesNotExist", false) => {
                let values: Vec<_> = values.into_iter().collect();
                Err(invalid(
                    "values",
                    &values.join(","),
                    "give no values for Exists or DoesNotExist",
                ))
            }
            (operator, _) => Err(invalid(
                "operator",
                operator,
                "use In, NotIn, Exists or DoesNotExist",
            )),
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

/// Canonical text: equal for equal selectors only, because it names their sets.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("*");
        }
        let mut separator = "";
        for requirement in &self.0 {
            write!(f, "{separator}{requirement}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(key, values) => write!(f, "{} in ({})", Word(key), Words(values)),
            Self::NotIn(key, values) => write!(f, "{} notin ({})", Word(key), Words(values)),
            Self::Exists(key) => write!(f, "{}", Word(key)),
            Self::DoesNotExist(key) => write!(f, "!{}", Word(key)),
        }
    }
}

/// A label key or value, quoted unless it has only the characters that valid ones have: an invalid one must not read like
/// another selector.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        if !self.0.is_empty() && self.0.bytes().all(plain) {
            return f.write_str(self.0);
        }
        write!(f, "{:?}", self.0)
    }
}

struct Words<'a>(&'a BTreeSet<String>);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for word in self.0 {
            write!(f, "{comma}{}", Word(word))?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
            }]),
            match_labels: None,
        }
    }

    #[test]
    fn negative_operators_hold_for_a_missing_label() {
        for selector in [
            expression("app", "NotIn", &["web"]),
            expression("app", "DoesNotExist", &[]),
        ] {
            assert!(Selector::try_from(&selector).unwrap().matches(&labels(&[])));
        }
        assert!(
            !Selector::try_from(&expression("app", "NotIn", &["web"]))
                .unwrap()
                .matches(&labels(&[("app", "web")]))
        );
    }

    #[test]
    fn spelling_does_not_matter() {
        let by_label = LabelSelector {
            match_labels: Some(labels(&[("app", "web")])),
            match_expressions: None,
        };
        let by_expression = expression("app", "In", &["web", "web"]);
        assert_eq!(
            Selector::try_from(&by_label),
            Selector::try_from(&by_expression)
        );
    }

    #[test]
    fn odd_words_do_not_imitate_other_selectors() {
        let one = Selector::try_from(&expression("app", "In", &["a,b"])).unwrap();
        let two = Selector::try_from(&expression("app", "In", &["a", "b"])).unwrap();
        assert_ne!(one.to_string(), two.to_string());
        assert_eq!(two.to_string(), "app in (a,b)");
    }

    #[test]
    fn nonsense_names_its_field() {
        let error = Selector::try_from(&expression("app", "Near", &["web"])).unwrap_err();
        assert_eq!(error.field, "matchExpressions[0].operator");
        assert!(Selector::try_from(&expression("app", "In", &[])).is_err());
        assert!(Selector::try_from(&expression("app", "Exists", &["x"])).is_err());
        assert!(Selector::try_from(&expression("", "Exists", &[])).is_err());
    }
}
