//! How the kernel schedules a thread that must not be late.

use std::fmt;
use std::io;

/// What the calling thread was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// Ahead of every ordinary thread of the machine (`SCHED_FIFO`).
    RealTime,
    /// An ordinary thread, first among its like (nice -20).
    Nice,
    /// Like any other thread: a busy machine may keep it waiting.
    #[default]
    Ordinary,
}

/// Low among real-time threads, so that the kernel's own stay ahead.
const PRIORITY: libc::c_int = 5;
const MOST_URGENT: libc::c_int = -20;

/// Puts the calling thread ahead of others, as far as the kernel allows.
pub(crate) fn hurry() -> Scheduling {
    if real_time().is_ok() {
        return Scheduling::RealTime;
    }
    match nice() {
        Ok(()) => Scheduling::Nice,
        Err(_) => Scheduling::Ordinary,
    }
}

#[expect(unsafe_code, reason = "nix has no such call")]
fn real_time() -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: thread 0 is the caller, and the kernel only reads the parameters, which live until it returns.
    outcome(unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters)
    })
}

#[expect(unsafe_code, reason = "nix has no such call")]
fn nice() -> io::Result<()> {
    // SAFETY: it takes numbers only; of Linux' threads 0 is the caller alone.
    outcome(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, MOST_URGENT) })
}

fn outcome(returned: libc::c_int) -> io::Result<()> {
    match returned {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RealTime => "SCHED_FIFO",
            Self::Nice => "nice -20",
            Self::Ordinary => "ordinary",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_shows_what_was_given() {
        std::thread::spawn(|| {
            let given = hurry();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // After the name in parentheses the fields are numbers: nice is the 19th of all, the policy the 41st (proc(5)).
            let (_, rest) = stat.rsplit_once(") ").unwrap();
            let field = |number: usize| rest.split(' ').nth(number - 3).unwrap().to_owned();
            let (nice, policy) = (field(19), field(41));
            match given {
                Scheduling::RealTime => assert_eq!(policy, "1"),
                Scheduling::Nice => assert_eq!((&*nice, &*policy), ("-20", "0")),
                Scheduling::Ordinary => assert_eq!((&*nice, &*policy), ("0", "0")),
            }
        })
        .join()
        .unwrap();
    }
}
