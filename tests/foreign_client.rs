//! foreign_client
