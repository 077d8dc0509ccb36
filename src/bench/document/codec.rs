//! Histograms as text: base64 of the HdrHistogram V2 format, compressed; the form that all its implementations read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer as _, V2DeflateSerializer},
};
use zlib_rs::{Inflate, InflateFlush, Status};

use crate::bench::{figures::add_histogram, histogram, measured::LONGEST_NANOS};

/// What the two binary forms open with, words of 8 octets (the 1 in the 3rd half-octet).
const COOKIE: [u8; 4] = 0x1c84_9313_u32.to_be_bytes();
const COOKIE_COMPRESSED: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();
/// Octets of a histogram of ours, at most: each of its some 33,000 counters takes up to 9.
const INFLATED_MAX: usize = 1 << 20;
/// Cookie, length, offset, digits, lowest, highest, ratio.
const HEADER_BYTES: usize = 40;

/// Writes one. It fails for no histogram of ours; an empty text would be refused by [`decode`].
pub(super) fn encode(histogram: &Histogram<u64>) -> String {
    let mut octets = Vec::new();
    match V2DeflateSerializer::new().serialize(histogram, &mut octets) {
        Ok(_) => STANDARD.encode(octets),
        Err(_) => String::new(),
    }
}

/// Reads one, or says why not. Nothing of what it announces is believed before it is checked.
pub(super) fn decode(text: &str) -> Result<Histogram<u64>, &'static str> {
    let octets = STANDARD.decode(text).map_err(|_| "a histogram is not base64")?;
    let (cookie, rest) = octets.split_first_chunk::<4>().ok_or("a histogram ends in its header")?;
    let (_, deflated) = rest.split_first_chunk::<4>().ok_or("a histogram ends in its header")?;
    if *cookie != COOKIE_COMPRESSED {
        return Err("a histogram is not in the compressed V2 format");
    }
    let inflated = inflate(deflated).ok_or("a histogram does not inflate")?;
    check_header(&inflated)?;
    let read: Histogram<u64> =
        Deserializer::new().deserialize(&mut inflated.as_slice()).map_err(|_| "a histogram is broken")?;
    let mut ours = histogram();
    add_histogram(&mut ours, &read);
    Ok(ours)
}

/// Our bounds and digits, and a length that is there: what is built from it has a known size.
fn check_header(inflated: &[u8]) -> Result<(), &'static str> {
    let header = inflated.first_chunk::<HEADER_BYTES>().ok_or("a histogram ends in its header")?;
    let word = |at: usize| header[at..at + 4].iter().fold(0u64, |sum, octet| sum << 8 | u64::from(*octet));
    let long = |at: usize| word(at) << 32 | word(at + 4);
    if header[..4] != COOKIE || word(4) as usize != inflated.len() - HEADER_BYTES {
        return Err("a histogram's length is wrong");
    }
    // The longest value of another writer's may be larger than what it was asked for, but not smaller than 2.
    if word(12) != 3 || long(16) != 1 || !(2..=LONGEST_NANOS * 2).contains(&long(24)) {
        return Err("a histogram has other bounds than 1 ns to 1 h with 3 digits");
    }
    Ok(())
}

fn inflate(deflated: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; INFLATED_MAX];
    let mut inflater = Inflate::new(true, 15);
    let status = inflater.decompress(deflated, &mut out, InflateFlush::Finish).ok()?;
    out.truncate(usize::try_from(inflater.total_out()).ok()?);
    (status == Status::StreamEnd).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back_the_same() {
        for values in [vec![], vec![1], vec![5_200; 1000], (0..100_000).map(|n| n * 35_999_999).collect()] {
            let mut one = histogram();
            values.iter().for_each(|value| one.saturating_record(*value));
            assert_eq!(decode(&encode(&one)).unwrap(), one);
        }
    }

    #[test]
    fn broken_ones_say_why() {
        let good = encode(&histogram());
        let octets = STANDARD.decode(&good).unwrap();
        let doctored = |at: usize| {
            let mut octets = octets.clone();
            octets[at] ^= 0xff;
            STANDARD.encode(octets)
        };
        for (text, why) in [
            ("~", "not base64"),
            ("", "ends in its header"),
            ("AAAA", "ends in its header"),
            (doctored(3).as_str(), "not in the compressed V2 format"),
            (doctored(9).as_str(), "does not inflate"),
            (&STANDARD.encode(&octets[..octets.len() - 6]), "does not inflate"),
        ] {
            let said = decode(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        // Four digits would be another kind.
        let other = Histogram::<u64>::new_with_bounds(1, LONGEST_NANOS, 4).unwrap();
        assert!(decode(&encode(&other)).unwrap_err().contains("other bounds"));
        let mut header = vec![0; HEADER_BYTES];
        header[..4].copy_from_slice(&COOKIE);
        header[4] = 0x7f;
        assert!(check_header(&header).unwrap_err().contains("length"));
    }
}
