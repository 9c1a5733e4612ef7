//! Regular expressions over AS paths.
//!
//! The path is its numbers in decimal with a space between, nearest first; `_` stands for what is between numbers or
//! around them, as routers have it. The engine is `regex`: automata, so the time is linear in the path whatever the
//! pattern, and a pattern that compiles to more than [`PROGRAM`] octets is refused.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use regex::bytes::{Regex, RegexBuilder};

use crate::wire::AsPath;

/// Longest pattern, in characters.
pub(crate) const LENGTH: usize = 256;
/// Largest compiled pattern, in octets; the time for a path is at most in proportion to it.
const PROGRAM: usize = 64 * 1024;
/// Deepest nesting of groups.
const NESTING: u32 = 32;

/// A compiled pattern; equal to another of the same text.
#[derive(Clone, Debug)]
pub struct PathPattern {
    text: String,
    regex: Regex,
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPathPattern {
    /// A character that no path has and that means nothing here.
    #[error(
        "`{1}` may not stand in `{0}`: a pattern is made of digits, spaces, `_` and ^ $ . * + ? | ( ) [ ] {{ }} - ,"
    )]
    Character(String, char),
    /// Longer than the limit.
    #[error("is {0} characters long, 256 are allowed")]
    Length(usize),
    /// Not a regular expression, or one that is too large.
    #[error("`{0}`: {1}")]
    Syntax(String, String),
}

impl PathPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn new(text: &str) -> Result<Self, BadPathPattern> {
        let length = text.chars().count();
        if length > LENGTH {
            return Err(BadPathPattern::Length(length));
        }
        let known = |c: &char| c.is_ascii_digit() || " _^$.*+?|()[]{}-,".contains(*c);
        if let Some(strange) = text.chars().find(|c| !known(c)) {
            return Err(BadPathPattern::Character(text.to_owned(), strange));
        }
        let regex = RegexBuilder::new(&text.replace('_', "(?:^|$| )"))
            .unicode(false)
            .size_limit(PROGRAM)
            .dfa_size_limit(PROGRAM)
            .nest_limit(NESTING)
            .build()
            .map_err(|error| BadPathPattern::Syntax(text.to_owned(), last_line(&error)))?;
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }

    /// Whether it is found in the path.
    pub fn matches(&self, path: &AsPath) -> bool {
        let mut text = String::with_capacity(path.len() * 11);
        // Writing to a String does not fail.
        let _ = write!(text, "{path}");
        self.regex.is_match(text.as_bytes())
    }
}

/// The parser draws the pattern with a marker under the place; what is wrong is in the last line.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathPattern {}

impl Hash for PathPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
