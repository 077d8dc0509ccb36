//! A run in the forms of other tools: an HdrHistogram interval log, a table over time, a page to look at.

pub mod csv;
pub mod hdr;
pub mod html;
mod plot;
