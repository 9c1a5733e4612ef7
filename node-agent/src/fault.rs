//! Places where a test cuts the agent off, as a power cut or `kill -9` would: nothing at all in what is released.
//!
//! Every step of ADD and DEL has one. `run::cut_off` starts an agent, arms a point, sees it die there, and asks what the next verb, or the next
//! start, makes of what is left.

/// A place between two steps.
#[cfg(not(test))]
#[inline]
pub(crate) const fn point(_: &'static str) {}

/// Ends the process here if this place is armed.
#[cfg(test)]
pub(crate) fn point(name: &'static str) {
    if armed().is_some_and(|armed| armed == name) {
        // No destructor, no buffer, no answer: what a signal 9 leaves.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}

/// The file that names the armed place. Only an agent that was started to be cut off looks for one.
#[cfg(test)]
pub(crate) const ARMED: &str = "MARGAY_TEST_FAULT";

#[cfg(test)]
fn armed() -> Option<String> {
    static FILE: std::sync::LazyLock<Option<std::ffi::OsString>> =
        std::sync::LazyLock::new(|| std::env::var_os(ARMED));
    std::fs::read_to_string(FILE.as_ref()?).ok()
}
