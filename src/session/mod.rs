//! One peer: a transport joined to a protocol connection.
