//! When the kernel is asked again.

use std::time::{Duration, Instant};

/// When to try again what the kernel refused. A moment and no pause: whatever else happens meanwhile must not put it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) at: Instant,
    /// After the failure before.
    pause: Duration,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(50);
    const LAST: Duration = Duration::from_secs(5);

    /// After a failure at `now`, the first one or one more.
    pub(crate) fn after(before: Option<Self>, now: Instant) -> Self {
        let pause = before.map_or(Self::FIRST, |b| (b.pause * 2).min(Self::LAST));
        Self {
            at: now + pause,
            pause,
        }
    }

    /// Something moved that may help: soon, if not sooner.
    pub(crate) fn sooner(self, now: Instant) -> Self {
        let soon = Self::after(None, now);
        if self.at <= soon.at { self } else { soon }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_less_and_less_often_and_never_later_than_that() {
        let start = Instant::now();
        let (mut now, mut retry) = (start, Retry::after(None, start));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pauses.push((retry.at - now).as_millis());
            now = retry.at;
            retry = Retry::after(Some(retry), now);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let sooner = retry.sooner(now);
        assert_eq!(sooner.at - now, Retry::FIRST);
        let later = now + Retry::FIRST / 2;
        assert_eq!(sooner.sooner(later), sooner, "many events put nothing off");
    }
}
