//! Plots as SVG, without a script: lines over two axes, with ticks, a grid and dots that say their value when pointed at.

use std::fmt::Write as _;

use crate::bench::verdict::show;

/// The whole picture, in units of its own.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// So many colours tell lines apart; then they come again, with other dashes.
pub(super) const COLOURS: usize = 8;

/// A line of a plot.
pub(super) struct Line {
    /// What it is called when pointed at.
    pub name: String,
    /// Which colour, from 0.
    pub colour: usize,
    /// Thin and dotted: beside another that counts more.
    pub is_minor: bool,
    /// Pieces of it, each without a gap.
    pub stretches: Vec<Vec<(f64, f64)>>,
}

/// A plot: times (nanoseconds) upwards on a logarithmic axis, over something.
pub(super) struct Plot {
    /// What it shows, for those who can not see it.
    pub title: String,
    /// What is to the right.
    pub x_name: String,
    /// From the left end to the right end.
    pub x_range: (f64, f64),
    /// Where something is written below the axis.
    pub x_ticks: Vec<(f64, String)>,
    pub lines: Vec<Line>,
}

impl Plot {
    pub(super) fn render(&self) -> String {
        let values =
            || self.lines.iter().flat_map(|line| line.stretches.iter().flatten()).map(|(_, nanos)| nanos.max(1.0));
        let (low, high) = values().fold((f64::MAX, 0.0f64), |(low, high), nanos| (low.min(nanos), high.max(nanos)));
        if high == 0.0 {
            return "<p class=\"none\">Nothing to draw.</p>".to_owned();
        }
        // A little room, and never nothing between both ends.
        let y_range = ((low * 0.9).log10(), (high * 1.1).log10());
        let mut svg = String::new();
        let _ = write!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            super::html::escape(&self.title)
        );
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (nanos, is_named) in y_ticks(y_range) {
            let y = self.y(nanos, y_range);
            let class = if is_named { "grid" } else { "grid faint" };
            let _ = write!(svg, "<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            if is_named {
                let _ = write!(
                    svg,
                    "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 8.0,
                    y + 4.0,
                    short(nanos)
                );
            }
        }
        for (at, label) in &self.x_ticks {
            let x = self.x(*at);
            let _ = write!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                super::html::escape(label)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            super::html::escape(&self.x_name)
        );
        let _ = write!(svg, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>");
        for line in &self.lines {
            self.draw(line, y_range, &mut svg);
        }
        svg + "</svg>"
    }

    fn draw(&self, line: &Line, y_range: (f64, f64), svg: &mut String) {
        let class = format!(
            "line c{}{}{}",
            line.colour % COLOURS,
            if line.colour >= COLOURS { " again" } else { "" },
            if line.is_minor { " minor" } else { "" }
        );
        let points: usize = line.stretches.iter().map(Vec::len).sum();
        for stretch in &line.stretches {
            let mut path = String::new();
            for (at, (x, nanos)) in stretch.iter().enumerate() {
                let _ =
                    write!(path, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, self.x(*x), self.y(*nanos, y_range));
            }
            let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
            // Dots where there is room for them, and where a line would be nothing.
            if points <= 120 || stretch.len() == 1 {
                for (x, nanos) in stretch {
                    let _ = write!(
                        svg,
                        "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"><title>{}: {}</title></circle>",
                        self.x(*x),
                        self.y(*nanos, y_range),
                        super::html::escape(&line.name),
                        show(*nanos)
                    );
                }
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.x_range;
        let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, nanos: f64, (low, high): (f64, f64)) -> f64 {
        let share = ((nanos.max(1.0).log10() - low) / (high - low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }
}

/// Where lines of the grid are, and which bear a name: 1, 2 and 5 of each decade, or only 1 over many decades; all nine within
/// less than one.
fn y_ticks((low, high): (f64, f64)) -> Vec<(f64, bool)> {
    let decades = high - low;
    let named: &[u32] = match decades {
        decades if decades < 0.7 => &[10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90],
        decades if decades < 3.5 => &[10, 20, 50],
        _ => &[10],
    };
    let mut ticks = Vec::new();
    // Nanoseconds to hours: at most 13 decades.
    for decade in (low.floor() as i32).max(0)..=(high.ceil() as i32).min(14) {
        for tenths in (10..100).filter(|tenths| tenths % 10 == 0 || named.contains(tenths)) {
            let nanos = f64::from(tenths) / 10.0 * 10f64.powi(decade);
            if (low..=high).contains(&nanos.log10()) && (decades < 3.5 || named.contains(&tenths)) {
                ticks.push((nanos, named.contains(&tenths)));
            }
        }
    }
    ticks
}

/// `20 µs`, without the digits of a measured value.
fn short(nanos: f64) -> String {
    let (value, unit) = match nanos {
        nanos if nanos < 1e3 => (nanos, "ns"),
        nanos if nanos < 1e6 => (nanos / 1e3, "µs"),
        nanos if nanos < 1e9 => (nanos / 1e6, "ms"),
        nanos => (nanos / 1e9, "s"),
    };
    // 1.2 × 10⁴ is not exact in binary.
    format!("{} {unit}", (value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_within() {
        for (low, high) in [(1.0, 1e12), (40_000.0, 60_000.0), (1_000.0, 5e6), (52_000.0, 52_001.0)] {
            let ticks = y_ticks((f64::log10(low * 0.9), f64::log10(high * 1.1)));
            let named = ticks.iter().filter(|(_, is_named)| *is_named).count();
            assert!((1..=14).contains(&named) && ticks.len() < 50, "{low} {high}: {ticks:?}");
            assert!(ticks.iter().all(|(nanos, _)| (low * 0.89..=high * 1.11).contains(nanos)), "{ticks:?}");
        }
        assert_eq!(
            [short(1_000.0), short(12_000.0), short(2_500_000.0), short(50.0)],
            ["1 µs", "12 µs", "2.5 ms", "50 ns"]
        );
    }

    #[test]
    fn a_plot_has_no_nan_and_keeps_within_its_frame() {
        let plot = Plot {
            title: "<a>".to_owned(),
            x_name: "x & y".to_owned(),
            x_range: (0.0, 0.0),
            x_ticks: vec![(0.0, "0".to_owned())],
            lines: vec![Line {
                name: "\"<b>\"".to_owned(),
                colour: 9,
                is_minor: false,
                stretches: vec![vec![(0.0, 0.0)], vec![], vec![(1e300, 3.6e12)]],
            }],
        };
        let svg = plot.render();
        assert!(
            !svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<b>") && svg.contains("c1 again"),
            "{svg}"
        );
        let empty = Plot { lines: Vec::new(), ..plot };
        assert!(empty.render().contains("Nothing"));
    }
}
