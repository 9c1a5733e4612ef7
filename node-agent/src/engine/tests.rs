//! Named states in, plans out.
