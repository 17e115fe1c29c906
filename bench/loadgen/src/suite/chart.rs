//! Bar charts as SVG: labels on the left, bars, values behind them. Plain enough to be written by hand.

use std::fmt::Write as _;

/// Bars that are compared with each other.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) text: String,
    /// The colour marks ours.
    pub(crate) ours: bool,
}

const WIDTH: f64 = 720.0;
const ROW: f64 = 30.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 12.0;
const LABELS: f64 = 130.0;
const VALUES: f64 = 110.0;

/// Draws the panels from top to bottom.
pub(crate) fn chart(panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(Panel::height).sum();
    // Writing into a String cannot fail, here and below.
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14">"#
    );
    let _ = writeln!(out, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
    let mut top = 0.0;
    for panel in panels {
        panel.draw(top, &mut out);
        top += panel.height();
    }
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn height(&self) -> f64 {
        TOP + ROW * self.bars.len() as f64 + BOTTOM
    }

    /// The axis begins at 0, so that lengths can be compared.
    fn draw(&self, top: f64, out: &mut String) {
        let Self { title, bars } = self;
        let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let (title, base) = (escaped(title), top + 28.0);
        let _ = writeln!(out, r##"<text x="12" y="{base}" font-size="16" fill="#1c1c1c">{title}</text>"##);
        for (number, bar) in bars.iter().enumerate() {
            let y = top + TOP + ROW * number as f64;
            let length = ((WIDTH - LABELS - VALUES) * (bar.value / most)).max(1.0);
            let colour = if bar.ours { "#d9480f" } else { "#7a8ca3" };
            let (label, text, base) = (escaped(&bar.label), escaped(&bar.text), y + 17.0);
            let (left, right) = (LABELS - 8.0, LABELS + length + 8.0);
            let _ = writeln!(out, r##"<text x="{left}" y="{base}" text-anchor="end" fill="#1c1c1c">{label}</text>"##);
            let _ = writeln!(out, r#"<rect x="{LABELS}" y="{y}" width="{length:.1}" height="22" fill="{colour}"/>"#);
            let _ = writeln!(out, r##"<text x="{right:.1}" y="{base}" fill="#1c1c1c">{text}</text>"##);
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_bar_fills_the_room_and_text_is_escaped() {
        let bar = |label: &str, value| Bar { label: label.to_owned(), value, text: String::new(), ours: false };
        let svg = chart(&[Panel { title: "a < b", bars: vec![bar("x", 1.0), bar("y", 2.0)] }]);
        assert!(svg.contains("a &lt; b") && svg.contains(r#"width="480.0""#) && svg.contains(r#"width="240.0""#));
    }

    #[test]
    fn second_panel_begins_where_the_first_ends() {
        let panel = |value| Panel {
            title: "",
            bars: vec![Bar { label: String::new(), value, text: String::new(), ours: true }],
        };
        let svg = chart(&[panel(1.0), panel(7.0)]);
        assert!(svg.contains(r#"viewBox="0 0 720 180""#) && svg.contains(r#"y="48""#) && svg.contains(r#"y="138""#));
    }
}
