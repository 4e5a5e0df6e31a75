//! Bar charts as SVG, for light and dark pages.

use std::{fmt::Write, fs, path::Path};

use anyhow::Result;

/// A bar of one or more parts.
pub struct Bar {
    pub group: String,
    pub name: String,
    pub parts: Vec<f64>,
}

const COLOURS: [&str; 2] = ["#3b76c4", "#e08a2c"];
const LEFT: f64 = 230.0;
const WIDTH: f64 = 420.0;
const ROW: f64 = 22.0;

/// Draws the bars group by group and labels each bar with the sum of its parts. `legend` names the parts.
pub fn bars(file: &Path, title: &str, legend: &[&str], bars: &[Bar]) -> Result<()> {
    let total = |bar: &Bar| bar.parts.iter().sum::<f64>();
    let largest = bars.iter().map(total).fold(f64::MIN_POSITIVE, f64::max);
    let mut body = String::new();
    let mut y = 34.0;
    let mut x = LEFT;
    for (name, colour) in legend.iter().zip(COLOURS) {
        writeln!(
            body,
            r#"<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>"#
        )?;
        text(&mut body, x + 18.0, y + 11.0, "", name)?;
        x += 230.0;
    }
    y += 26.0;
    let mut group = "";
    for bar in bars {
        if bar.group != group {
            group = &bar.group;
            text(&mut body, 8.0, y + 14.0, r#" font-weight="bold""#, group)?;
            y += ROW;
        }
        let end = r#" text-anchor="end""#;
        text(&mut body, LEFT - 8.0, y + 14.0, end, &bar.name)?;
        let mut x = LEFT;
        for (part, colour) in bar.parts.iter().zip(COLOURS) {
            let width = part / largest * WIDTH;
            writeln!(
                body,
                r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="17" fill="{colour}"/>"#
            )?;
            x += width;
        }
        writeln!(
            body,
            r#"<text x="{:.1}" y="{}">{:.2}</text>"#,
            x + 6.0,
            y + 14.0,
            total(bar)
        )?;
        y += ROW;
    }
    let (width, height) = (LEFT + WIDTH + 70.0, y + 8.0);
    let svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="13">
<title>{title}</title>
<style>text {{ fill: #1f2328 }} @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} }}</style>
<text x="8" y="20" font-size="15" font-weight="bold">{title}</text>
{body}</svg>
"##
    );
    Ok(fs::write(file, svg)?)
}

fn text(body: &mut String, x: f64, y: f64, attributes: &str, text: &str) -> Result<()> {
    let line = format!(r#"<text x="{x}" y="{y}"{attributes}>{text}</text>"#);
    writeln!(body, "{line}")?;
    Ok(())
}
