//! Durations and sizes as a human writes them: `"250ms"`, `"64KiB"`. A number without its unit is refused.

use std::time::Duration;

use bytesize::ByteSize;

/// The longest wait that can be configured: far beyond any use, and safe to add to any clock reading.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads `"10s"`, `"250ms"`, `"1m 30s"`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    // A bare 0 is the one number that humantime takes without a unit.
    if text.trim() == "0" {
        return None;
    }
    humantime::parse_duration(text).ok().filter(|&duration| duration <= DURATION_MAX)
}

/// Writes a duration so that [`parse_duration`] reads the same one: milliseconds or seconds where these say it all.
pub(super) fn show_duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_nanos()) {
        (secs, 0) => format!("{secs}s"),
        (_, nanos) if nanos % 1_000_000 == 0 => format!("{}ms", duration.as_millis()),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// Reads `"64KiB"`, `"16MiB"`, `"1500B"`, `"1MB"` (10^6), in octets.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    // bytesize saturates: what it could not hold comes back as the largest number, which no bound here means.
    text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|&octets| octets < u64::MAX)
}

/// Writes a size so that [`parse_size`] reads the same one: in the largest binary unit that divides it.
pub(super) fn show_size(octets: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    UNITS
        .iter()
        .find(|(shift, _)| octets > 0 && octets.trailing_zeros() >= *shift)
        .map_or_else(|| format!("{octets}B"), |(shift, unit)| format!("{}{unit}", octets >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_an_end() {
        for (text, expected) in [
            ("10s", Some(Duration::from_secs(10))),
            ("250ms", Some(Duration::from_millis(250))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("0s", Some(Duration::ZERO)),
            ("365d", Some(DURATION_MAX)),
            ("366d", None),
            ("0", None),
            ("10", None),
            ("ten", None),
            ("-1s", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        for (text, expected) in [
            ("64KiB", Some(65_536)),
            ("64 KiB", Some(65_536)),
            ("16MiB", Some(16 << 20)),
            ("1.5KiB", Some(1536)),
            ("1MB", Some(1_000_000)),
            ("0B", Some(0)),
            ("65536", None),
            ("1.", None),
            ("-1B", None),
            ("KiB", None),
            ("64Kib/s", None),
            ("99999999999999EiB", None),
            ("", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for nanos in [0, 1, 999, 1_000_000, 250_000_000, 1_500_000_000, 60_000_000_000, 86_400_000_000_000] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration), "{}", show_duration(duration));
        }
        for octets in [0, 1, 125, 1024, 1536, 65_536, 1 << 20, (1 << 20) + 1, 16 << 20, 3 << 30, 9_007_199_254_740_993]
        {
            assert_eq!(parse_size(&show_size(octets)), Some(octets), "{}", show_size(octets));
        }
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(show_size(64 << 10), "64KiB");
    }
}
