//! Waiting for a condition with a deadline, instead of sleeping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(100);

/// What one look at a condition found.
#[derive(Debug)]
pub enum Seen<T> {
    /// The condition holds.
    Holds(T),
    /// Not yet; what was there instead goes into the error if time runs out.
    NotYet(String),
    /// It never will hold, and why: waiting ends at once.
    Never(String),
}

/// Looks until the condition holds, and returns what came with it.
///
/// An error from `look` counts as "not yet": an API server that starts refuses connections first.
///
/// # Errors
/// When `limit` has passed, or the condition never will hold: names `what`, and what the last look saw.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        let seen = match look() {
            Ok(Seen::Holds(value)) => return Ok(value),
            Ok(Seen::NotYet(seen)) => seen,
            Ok(Seen::Never(why)) => bail!("{what}: {why}"),
            Err(error) => format!("{error:#}"),
        };
        if begin.elapsed() >= limit {
            bail!(
                "{what}: not within {:.1} s; last seen: {}",
                limit.as_secs_f64(),
                seen.trim()
            );
        }
        thread::sleep(PAUSE);
    }
}

/// As [`wait_until`], for a condition on a text: returns the first text that `accept` likes.
///
/// # Errors
/// When `limit` has passed: names `what`, and the last text.
pub fn wait_for_text(
    what: &str,
    limit: Duration,
    mut read: impl FnMut() -> Result<String>,
    accept: impl Fn(&str) -> bool,
) -> Result<String> {
    wait_until(what, limit, || {
        let text = read()?;
        Ok(if accept(&text) {
            Seen::Holds(text)
        } else {
            Seen::NotYet(text)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_at_the_first_look_that_holds() {
        let mut looks = 0;
        let value = wait_until("third look", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 {
                Seen::Holds(looks)
            } else {
                Seen::NotYet(looks.to_string())
            })
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn says_what_was_seen_last() {
        let error =
            wait_for_text("a fox", Duration::ZERO, || Ok("a hen\n".into()), |_| false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a fox: not within 0.0 s; last seen: a hen"
        );
    }

    #[test]
    fn hopelessness_ends_the_wait() {
        let never = || Ok(Seen::<()>::Never("it has ended".into()));
        let error = wait_until("server", Duration::from_secs(60), never).unwrap_err();
        assert_eq!(error.to_string(), "server: it has ended");
    }

    #[test]
    fn an_error_is_not_yet() {
        let error = wait_until::<()>("server", Duration::ZERO, || bail!("refused")).unwrap_err();
        assert!(error.to_string().ends_with("last seen: refused"));
    }
}
