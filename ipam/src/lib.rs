//! Address blocks: allocation, claims, release and collection as decisions.
