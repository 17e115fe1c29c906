//! A bar chart as SVG: labels on the left, bars, values behind them. Plain enough to be written by hand.

use std::fmt::Write as _;

/// One bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) text: String,
    /// Ours is told apart by its colour.
    pub(crate) ours: bool,
}

const WIDTH: f64 = 720.0;
const ROW: f64 = 30.0;
const TOP: f64 = 48.0;
const LABELS: f64 = 130.0;
const VALUES: f64 = 110.0;

/// Draws the bars from top to bottom. The axis begins at 0, so that lengths can be compared.
pub(crate) fn chart(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * bars.len() as f64 + 12.0;
    // Writing into a String cannot fail, here and below.
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14">"#
    );
    let _ = writeln!(out, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
    let _ = writeln!(out, r##"<text x="12" y="28" font-size="16" fill="#1c1c1c">{}</text>"##, escaped(title));
    for (number, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * number as f64;
        let length = ((WIDTH - LABELS - VALUES) * (bar.value / most)).max(1.0);
        let colour = if bar.ours { "#d9480f" } else { "#7a8ca3" };
        let (label, text, base) = (escaped(&bar.label), escaped(&bar.text), y + 17.0);
        let _ =
            writeln!(out, r##"<text x="{}" y="{base}" text-anchor="end" fill="#1c1c1c">{label}</text>"##, LABELS - 8.0);
        let _ = writeln!(out, r#"<rect x="{LABELS}" y="{y}" width="{length:.1}" height="22" fill="{colour}"/>"#);
        let _ = writeln!(out, r##"<text x="{:.1}" y="{base}" fill="#1c1c1c">{text}</text>"##, LABELS + length + 8.0);
    }
    out.push_str("</svg>\n");
    out
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
        let svg = chart("a < b", &[bar("x", 1.0), bar("y", 2.0)]);
        assert!(svg.contains("a &lt; b") && svg.contains(r#"width="480.0""#) && svg.contains(r#"width="240.0""#));
    }
}
