//! BGP-4 as values: wire, session, RIB, speaker.
