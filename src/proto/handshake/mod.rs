//! The opening handshake (RFC 6455 §4).

/// Which of the subprotocols that a client offers the server answers with (RFC 6455 §4.2.2, `/subprotocol/`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subprotocols {
    /// The first offered one that is a valid token: several clients fail a server that answers none.
    #[default]
    First,
    /// Never one.
    None,
    /// The first offered one that is in this list.
    List(Vec<String>),
}

/// What an upgrade request must look like to be answered with 101.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Origins that may connect (RFC 6455 §10.2), compared case-insensitively; `None` admits all, and a request without `Origin` (no browser) is always admitted.
    pub origins: Option<Vec<String>>,
    /// Paths that exist, without query; `None`: every path. Others get 404.
    pub paths: Option<Vec<String>>,
    /// The subprotocol that is answered.
    pub subprotocols: Subprotocols,
    /// Value of the `Server` header; `None`: no such header.
    pub server_name: Option<String>,
    /// WebSocket URLs for the plain page that a GET without upgrade gets.
    pub urls: Vec<String>,
}
