//! Tasks and sockets around `margay_bgp::Speaker`.
