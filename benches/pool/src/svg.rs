//! The picture: one panel of bars for each question, drawn from the data of the run.

use std::fmt::Write;

use crate::run::{Figures, Results};

const WIDTH: f64 = 860.0;
const LABEL: f64 = 230.0;
const BAR: f64 = 15.0;
const STEP: f64 = 20.0;
const HEAD: f64 = 44.0;

struct Panel<'a> {
    title: &'a str,
    value: fn(&Figures) -> f64,
    /// What is written at the end of a bar.
    unit: &'a str,
}

const PANELS: &[Panel<'static>] = &[
    Panel { title: "get, touch, return; one task (ns, less is better)", value: |f| f.alone, unit: "ns" },
    Panel {
        title: "two tasks at once on two workers (ns, less is better)",
        value: |f| f.two_at_once,
        unit: "ns",
    },
    Panel {
        title: "64 tasks on 8 resources (thousand ops/s, more is better)",
        value: |f| f.crowd.ops_per_second / 1e3,
        unit: "k/s",
    },
    Panel {
        title: "64 tasks on 8 resources: wait, 99.9th percentile (µs, less is better)",
        value: |f| f.crowd.p999.as_secs_f64() * 1e6,
        unit: "µs",
    },
    Panel { title: "10,000 waiters on 4 resources, each (ns, less is better)", value: |f| f.queue, unit: "ns" },
    Panel {
        title: "memory of a waiter: future and heap (bytes, less is better)",
        value: |f| f.memory.future as f64 + f.memory.heap,
        unit: "B",
    },
];

/// The picture of a run.
pub(crate) fn picture(results: &Results) -> String {
    let panel_height = HEAD + STEP * results.figures.len() as f64;
    let height = panel_height * PANELS.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (place, panel) in PANELS.iter().enumerate() {
        draw(&mut svg, panel, results, panel_height * place as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, panel: &Panel<'_>, results: &Results, top: f64) {
    let most = results.figures.iter().map(panel.value).fold(1.0, f64::max);
    let room = WIDTH - LABEL - 90.0;
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<text x=\"12\" y=\"{:.0}\" font-size=\"14\" font-weight=\"bold\">{}</text>",
        top + 28.0,
        panel.title
    );
    for (place, figures) in results.figures.iter().enumerate() {
        let value = (panel.value)(figures);
        let y = top + HEAD + STEP * place as f64;
        let colour = if figures.name.starts_with("tenure") {
            "#1f7a4d"
        } else if figures.name.starts_with("design") || figures.name.starts_with("floor") {
            "#b9b9b9"
        } else {
            "#5b7fa6"
        };
        let length = (value / most * room).max(1.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABEL}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{value:.0} {}</text>",
            LABEL - 8.0,
            y + 12.0,
            escaped(figures.name),
            LABEL + length + 6.0,
            y + 12.0,
            panel.unit
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
