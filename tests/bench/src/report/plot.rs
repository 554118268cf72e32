//! The plot: one panel of bars for each figure that matters. Bars and words are all there is in it, so it is
//! written as SVG by hand.

use std::fmt::{self, Write as _};

use super::{Report, table::number};
use crate::{
    figures::{self, Better},
    rounds::Measured,
};

/// A panel's geometry, in pixels.
const WIDTH: usize = 480;
const LABELS: usize = 110;
const BARS: usize = 270;
const LINE: usize = 20;
const BAR: usize = 14;
const TITLE: usize = 34;
const COLUMNS: usize = 2;
const MARGIN: usize = 20;
/// Of the lines above the panels.
const HEAD: usize = 64;

const COLOURS: [&str; 8] = [
    "#787878", "#56b4e9", "#0072b2", "#009e73", "#005c43", "#e69f00", "#d55e00", "#cc79a7",
];

/// A title, and a bar for each variant that has a value.
struct Panel<'a> {
    title: String,
    bars: Vec<Bar<'a>>,
}

struct Bar<'a> {
    name: &'a str,
    value: f64,
    ratio: Option<f64>,
    colour: &'static str,
}

/// The whole picture.
pub(super) fn svg(report: &Report<'_>) -> Result<String, fmt::Error> {
    let panels = panels(report.measured);
    let rows = panels
        .iter()
        .map(|panel| panel.bars.len())
        .max()
        .unwrap_or(0);
    let height = TITLE + rows * LINE + MARGIN;
    let lines = panels.len().div_ceil(COLUMNS);
    let (width, whole) = (2 * MARGIN + COLUMNS * WIDTH, HEAD + lines * height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{whole}\" \
         viewBox=\"0 0 {width} {whole}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{whole}\" fill=\"white\"/>\n"
    );
    let machine = &report.machine;
    let title = format!(
        "Sealane: medians of {} rounds, in brackets the ratio to direct TCP",
        report.plan.rounds
    );
    writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"28\" font-size=\"16\">{}</text>",
        escaped(&title)
    )?;
    let facts = format!(
        "Linux {}, {} × {}, {}",
        machine.kernel, machine.cpus, machine.cpu, machine.date
    );
    writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"48\" fill=\"#555\">{}</text>",
        escaped(&facts)
    )?;
    for (index, panel) in panels.iter().enumerate() {
        let x = MARGIN + index % COLUMNS * WIDTH;
        let y = HEAD + index / COLUMNS * height;
        panel.draw(&mut svg, x, y)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn panels(measured: &[Measured]) -> Vec<Panel<'_>> {
    let shown = || measured.iter().zip(COLOURS.iter().cycle());
    let mut panels: Vec<_> = figures::ALL
        .iter()
        .filter(|figure| figure.is_drawn)
        .map(|figure| Panel {
            title: titled(figure.label, figure.better),
            bars: shown()
                .filter_map(|(one, colour)| {
                    let summary = figure.summary(one, measured)?;
                    Some(bar(one, summary.median, summary.ratio, colour))
                })
                .collect(),
        })
        .collect();
    panels.push(Panel {
        title: titled(figures::IDLE_LABEL, Better::Less),
        bars: shown()
            .filter_map(|(one, colour)| Some(bar(one, figures::idle_kib(one)?, None, colour)))
            .collect(),
    });
    panels
}

fn titled(label: &str, better: Better) -> String {
    let better = match better {
        Better::More => "more is better",
        Better::Less => "less is better",
    };
    format!("{} ({better})", label.trim())
}

fn bar<'a>(one: &'a Measured, value: f64, ratio: Option<f64>, colour: &'static str) -> Bar<'a> {
    Bar {
        name: &one.name,
        value,
        ratio,
        colour,
    }
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, x: usize, y: usize) -> fmt::Result {
        writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\">{}</text>",
            y + 18,
            escaped(&self.title)
        )?;
        let greatest = self
            .bars
            .iter()
            .map(|bar| bar.value)
            .fold(f64::MIN_POSITIVE, f64::max);
        for (index, bar) in self.bars.iter().enumerate() {
            let top = y + TITLE + index * LINE;
            bar.draw(svg, x, top, BARS as f64 * bar.value / greatest)?;
        }
        Ok(())
    }
}

impl Bar<'_> {
    fn draw(&self, svg: &mut String, x: usize, top: usize, length: f64) -> fmt::Result {
        let (start, base) = (x + LABELS, top + BAR - 3);
        let ratio = self
            .ratio
            .map_or_else(String::new, |ratio| format!(" ({ratio:.2})"));
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{start}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{base}\">{}{ratio}</text>",
            start - 6,
            escaped(self.name),
            self.colour,
            start as f64 + length + 5.0,
            number(self.value),
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
