//! Plots as SVG, without a script: lines over two axes, with ticks, a grid and dots that say their value when pointed at.

use std::fmt::Write as _;

use super::scale::{Scale, Unit};

/// What a picture is drawn with; a page has it too.
pub(super) const STYLE: &str = include_str!("plot.css");
/// The whole picture, in units of its own.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 28.0;
/// A row of the legend.
const ROW: f64 = 19.0;
/// Letters of a name in the legend, at most, and about how wide one is.
const NAME_MAX: usize = 48;
const LETTER: f64 = 6.3;
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

/// A plot: something upwards, over something else.
pub(super) struct Plot {
    /// What it shows, for those who can not see it.
    pub title: String,
    /// What is upwards.
    pub y_name: String,
    pub unit: Unit,
    /// `None`: there is nothing to draw.
    pub scale: Option<Scale>,
    /// What is to the right.
    pub x_name: String,
    /// From the left end to the right end.
    pub x_range: (f64, f64),
    /// Where something is written below the axis.
    pub x_ticks: Vec<(f64, String)>,
    pub lines: Vec<Line>,
    /// Names of the lines are written above them.
    pub has_legend: bool,
}

/// An entry of the legend: which line, where, and how it is called.
struct Entry<'a> {
    line: &'a Line,
    x: f64,
    row: usize,
    name: String,
}

impl Plot {
    /// A picture of its own, which needs nothing else. `None`: there is nothing to draw.
    pub(super) fn file(&self) -> Option<String> {
        let scale = self.scale?;
        Some(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\"><title>{}</title><style>{STYLE}</style>\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>{}</svg>\n",
            super::html::escape(&self.title),
            self.body(scale)
        ))
    }

    /// A part of a page.
    pub(super) fn render(&self) -> String {
        let Some(scale) = self.scale else {
            return "<p class=\"none\">Nothing to draw.</p>".to_owned();
        };
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            super::html::escape(&self.title),
            self.body(scale)
        )
    }

    fn body(&self, scale: Scale) -> String {
        let mut svg = String::new();
        let legend = self.legend();
        let top = top(&legend);
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, name) in scale.ticks(self.unit) {
            let y = y(scale.share(value), top);
            let class = if name.is_some() { "grid" } else { "grid faint" };
            let _ = write!(svg, "<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            if let Some(name) = name {
                let (x, y) = (LEFT - 8.0, y + 4.0);
                let _ = write!(svg, "<text class=\"tick\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>");
            }
        }
        for (at, label) in &self.x_ticks {
            let x = self.x(*at);
            let _ = write!(svg, "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/>");
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
        let y_name = super::html::escape(&self.y_name);
        let _ = write!(svg, "<text class=\"name\" x=\"8\" y=\"16\">{y_name}</text>");
        let _ = write!(svg, "<path class=\"axis\" d=\"M{LEFT} {top}V{bottom}H{right}\"/>");
        for line in &self.lines {
            self.draw(line, scale, top, &mut svg);
        }
        for Entry { line, x, row, name } in &legend {
            let (y, class, name) = (TOP + ROW * *row as f64, line.class(), super::html::escape(name));
            let _ = write!(svg, "<path class=\"{class}\" d=\"M{x:.0} {y}h22\"/>");
            let _ = write!(svg, "<text x=\"{:.0}\" y=\"{}\">{name}</text>", x + 28.0, y + 4.0);
        }
        svg
    }

    /// From left to right, in as many rows as it takes.
    fn legend(&self) -> Vec<Entry<'_>> {
        let (mut x, mut row) = (LEFT, 0);
        let named = self.lines.iter().filter(|_| self.has_legend);
        named
            .map(|line| {
                let mut name: String = line.name.chars().take(NAME_MAX).collect();
                if name.len() < line.name.len() {
                    name.push('…');
                }
                let width = 28.0 + LETTER * name.chars().count() as f64 + 24.0;
                if x > LEFT && x + width > WIDTH - RIGHT {
                    (x, row) = (LEFT, row + 1);
                }
                let entry = Entry { line, x, row, name };
                x += width;
                entry
            })
            .collect()
    }

    fn draw(&self, line: &Line, scale: Scale, top: f64, svg: &mut String) {
        let class = line.class();
        let points: usize = line.stretches.iter().map(Vec::len).sum();
        for stretch in &line.stretches {
            let mut path = String::new();
            for (at, (x, value)) in stretch.iter().enumerate() {
                let (x, y) = (self.x(*x), y(scale.share(*value), top));
                let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
            }
            let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
            // Dots where there is room for them, and where a line would be nothing.
            if points <= 120 || stretch.len() == 1 {
                for (x, value) in stretch {
                    let _ = write!(
                        svg,
                        "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"><title>{}: {}</title></circle>",
                        self.x(*x),
                        y(scale.share(*value), top),
                        super::html::escape(&line.name),
                        self.unit.show(*value)
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
}

impl Line {
    fn class(&self) -> String {
        let again = if self.colour >= COLOURS { " again" } else { "" };
        format!("line c{}{again}{}", self.colour % COLOURS, if self.is_minor { " minor" } else { "" })
    }
}

/// Where the drawing begins, below the legend.
fn top(legend: &[Entry<'_>]) -> f64 {
    TOP + legend.last().map_or(0.0, |entry| ROW * (entry.row + 1) as f64)
}

/// How far down so much of the height is.
fn y(share: f64, top: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(lines: Vec<Line>) -> Plot {
        let values: Vec<f64> =
            lines.iter().flat_map(|line| line.stretches.iter().flatten()).map(|(_, value)| *value).collect();
        Plot {
            title: "<a>".to_owned(),
            y_name: "y < z".to_owned(),
            unit: Unit::Nanoseconds,
            scale: Scale::decades(values.into_iter()),
            x_name: "x & y".to_owned(),
            x_range: (0.0, 0.0),
            x_ticks: vec![(0.0, "0".to_owned())],
            lines,
            has_legend: true,
        }
    }

    fn line(name: &str, colour: usize) -> Line {
        let stretches = vec![vec![(0.0, 0.0)], vec![], vec![(1e300, 3.6e12)]];
        Line { name: name.to_owned(), colour, is_minor: false, stretches }
    }

    #[test]
    fn a_plot_has_no_nan_and_keeps_within_its_frame() {
        let svg = plot(vec![line("\"<b>\"", 9)]).render();
        assert!(
            !svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<b>") && svg.contains("c1 again"),
            "{svg}"
        );
        let empty = plot(Vec::new());
        assert!(empty.render().contains("Nothing") && empty.file().is_none());
    }

    #[test]
    fn a_file_brings_its_style_and_background_and_no_more() {
        let file = plot(vec![line("one", 0)]).file().unwrap();
        assert!(file.starts_with("<svg xmlns=") && file.ends_with("</svg>\n"));
        assert!(file.contains("<style>") && file.contains("<rect class=\"back\"") && !file.contains("href"));
        assert!(file.len() < 6_000, "{}", file.len());
    }

    #[test]
    fn a_legend_has_as_many_rows_as_its_names_need() {
        let names: Vec<Line> = (0..5).map(|at| line(&"n".repeat(60), at)).collect();
        let plot = plot(names);
        let legend = plot.legend();
        assert_eq!(legend.iter().map(|entry| entry.row).collect::<Vec<_>>(), [0, 0, 1, 1, 2]);
        assert!(legend.iter().all(|entry| entry.name.chars().count() == NAME_MAX + 1));
        assert!((top(&legend) - TOP - 3.0 * ROW).abs() < 1e-9);
        assert!(Plot { has_legend: false, ..plot }.legend().is_empty());
    }
}
