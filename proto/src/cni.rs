//! CNI JSON: network configuration, results and errors.
