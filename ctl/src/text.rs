//! Numbers and times for people.

/// A count: exact up to a million million, then as a power of ten.
pub(crate) fn count(number: u128) -> String {
    if number < 1_000_000_000_000 {
        return number.to_string();
    }
    let exponent = number.ilog10();
    let tenths = number / 10_u128.pow(exponent - 1);
    format!("{}.{}e{exponent}", tenths / 10, tenths % 10)
}

/// A time span by its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// `1 block`, `3 blocks`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    let ending = match (number, noun) {
        (1, _) => "",
        (_, "address") => "es",
        _ => "s",
    };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stay_short() {
        assert_eq!(count(0), "0");
        assert_eq!(count(65_534), "65534");
        assert_eq!(count(1 << 72), "4.7e21");
        assert_eq!(count(u128::MAX), "3.4e38");
    }

    #[test]
    fn spans_have_two_units() {
        let spans = [0, 59, 61, 3600, 7384, 90_061].map(span);
        assert_eq!(spans, ["0s", "59s", "1m1s", "1h0m", "2h3m", "1d1h"]);
    }

    #[test]
    fn plurals() {
        assert_eq!(
            [
                plural(1, "address"),
                plural(2, "address"),
                plural(0, "block")
            ],
            ["1 address", "2 addresses", "0 blocks"]
        );
    }
}
