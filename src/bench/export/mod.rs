//! A run in the forms of other tools: an HdrHistogram interval log, a table over time, a page to look at, plots over connections.

pub mod csv;
pub mod growth;
pub mod hdr;
pub mod html;
mod plot;
mod scale;
