//! Sockets, TLS, readiness, the clock. Knows no WebSocket word.
