//! What a command has to say.

use crate::options::Format;
use crate::table::Table;
use serde::Serialize;

/// Output and what goes beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// For standard output.
    pub(crate) output: String,
    /// Lines for standard error that are no errors.
    pub(crate) notes: Vec<String>,
    /// What could not be asked; any makes the exit code 1.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// One line.
    pub(crate) fn line(text: impl std::fmt::Display) -> Self {
        Self {
            output: format!("{text}\n"),
            ..Self::default()
        }
    }

    /// `value` for programs, `table` for people.
    ///
    /// # Errors
    /// None in practice; the serialisers' signatures have one.
    pub(crate) fn of<T: Serialize>(
        format: Format,
        value: &T,
        table: impl FnOnce() -> Table,
    ) -> anyhow::Result<Self> {
        Self::written(format, value, || table().render(format))
    }

    /// `value` for programs, a text of several lines for people.
    ///
    /// # Errors
    /// As [`Report::of`].
    pub(crate) fn written<T: Serialize>(
        format: Format,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<Self> {
        let output = match format {
            Format::Table | Format::Wide => text(),
            Format::Json => serde_json::to_string_pretty(value)? + "\n",
            Format::Yaml => serde_saphyr::to_string(value)?,
        };
        Ok(Self {
            output,
            ..Self::default()
        })
    }

    /// A changed object: itself for programs, `line` for people.
    ///
    /// # Errors
    /// As [`Report::of`].
    pub(crate) fn object<T: Serialize>(
        format: Format,
        object: &T,
        line: &str,
    ) -> anyhow::Result<Self> {
        match format {
            Format::Table | Format::Wide => Ok(Self::line(line)),
            Format::Json | Format::Yaml => Self::of(format, object, || Table::new(&[], Vec::new())),
        }
    }

    /// Adds a note.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds `note` when there is no output.
    pub(crate) fn note_if_empty(self, note: &str) -> Self {
        if self.output.is_empty() && self.failures.is_empty() {
            self.note(note)
        } else {
            self
        }
    }

    /// Adds failures.
    pub(crate) fn failing(mut self, failures: Vec<String>) -> Self {
        self.failures.extend(failures);
        self
    }
}

/// Objects as kubectl lists them, so that the output can be applied.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [T],
}

impl<'a, T> List<'a, T> {
    /// A list of `items`.
    pub(crate) const fn new(items: &'a [T]) -> Self {
        Self {
            api_version: "v1",
            kind: "List",
            items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, column};

    #[test]
    fn one_value_in_every_form() {
        const COLUMNS: &[Column] = &[column("N")];
        let of = |format| {
            let table = || Table::new(COLUMNS, vec![vec!["1".into()]]);
            Report::of(format, &List::new(&[1]), table).unwrap().output
        };
        assert_eq!(of(Format::Table), "N\n1\n");
        assert_eq!(
            of(Format::Json),
            "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"List\",\n  \"items\": [\n    1\n  ]\n}\n"
        );
        assert_eq!(
            of(Format::Yaml),
            "apiVersion: v1\nkind: List\nitems:\n- 1\n"
        );
    }
}
