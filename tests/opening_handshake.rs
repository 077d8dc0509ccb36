//! opening_handshake
