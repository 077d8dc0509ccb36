//! serve_command
