// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Line charts as SVG.

use std::fmt::Write as _;

/// A chart over time.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What the vertical axis counts, for instance `MiB`.
    pub(super) unit: &'a str,
    pub(super) series: Vec<Series>,
    /// A time span to mark, in milliseconds: the downtime.
    pub(super) band: Option<(f64, f64)>,
}

/// One line of a chart.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// Time in milliseconds, and the value then; in the order of time.
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    /// The chart as an SVG element with its heading.
    pub(super) fn svg(&self) -> String {
        let marked = self.band.map_or(0.0, |(_, to)| to);
        let x = Axis::new(self.most(|point| point.0).max(marked));
        let y = Axis::new(self.most(|point| point.1));
        let mut svg = format!(
            "<figure><figcaption>{} <small>{}</small>{}</figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title,
            self.unit,
            self.legend(),
            self.title
        );
        self.draw_axes(&mut svg, &x, &y);
        for (at, series) in self.series.iter().enumerate() {
            let points: Vec<String> = series
                .points
                .iter()
                .map(|(time, value)| format!("{:.1},{:.1}", x.across(*time), y.up(*value)))
                .collect();
            let _ = write!(
                svg,
                "<polyline class=\"s{at}\" points=\"{}\"/>",
                points.join(" ")
            );
        }
        svg.push_str("</svg></figure>\n");
        svg
    }

    fn draw_axes(&self, svg: &mut String, x: &Axis, y: &Axis) {
        if let Some((from, to)) = self.band {
            let (left, right) = (x.across(from), x.across(to));
            let width = (right - left).max(1.0);
            let height = BOTTOM - TOP;
            let _ = write!(
                svg,
                "<rect class=\"band\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
            );
        }
        for value in y.ticks() {
            let at = y.up(value);
            let text = at + 4.0;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"y\" x=\"{}\" y=\"{text:.1}\">{value}</text>",
                LEFT - 6.0
            );
        }
        for value in x.ticks() {
            let at = x.across(value);
            let _ = write!(
                svg,
                "<text class=\"x\" x=\"{at:.1}\" y=\"{}\">{value} ms</text>",
                BOTTOM + 16.0
            );
        }
    }

    fn legend(&self) -> String {
        let names = self.series.iter().enumerate();
        names
            .map(|(at, series)| format!(" <span class=\"s{at}\">{}</span>", series.name))
            .collect()
    }

    fn most(&self, value: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let points = self.series.iter().flat_map(|series| &series.points);
        points.map(value).fold(0.0, f64::max)
    }
}

/// An axis from 0 to a round number.
struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    fn new(most: f64) -> Self {
        let most = if most.is_finite() {
            most.max(1e-3)
        } else {
            1.0
        };
        let rough = most / TICKS;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|factor| factor * magnitude >= rough * 0.999)
            .unwrap_or(10.0);
        let step = factor * magnitude;
        Self {
            step,
            end: step * (most / step * 0.999).ceil(),
        }
    }

    /// The marks, rounded as they are shown.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, end) = (self.step, self.end);
        (0..=20_u8)
            .map(move |tick| (f64::from(tick) * step * 1e6).round() / 1e6)
            .take_while(move |value| *value <= end * 1.001)
    }

    fn across(&self, value: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * value / self.end
    }

    fn up(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.end
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 616.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 194.0;
/// About so many marks on an axis.
const TICKS: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, end, count) in [
            (7.0, 8.0, 5),
            (100.0, 100.0, 6),
            (0.34, 0.4, 5),
            (1234.0, 1500.0, 4),
        ] {
            let axis = Axis::new(most);
            assert!((axis.end - end).abs() < 1e-9, "{most}: {}", axis.end);
            assert_eq!(axis.ticks().count(), count, "{most}");
        }
    }

    #[test]
    fn every_line_is_inside() {
        let chart = Chart {
            title: "Memory",
            unit: "MiB",
            series: vec![Series {
                name: "remaining",
                points: vec![(0.0, 512.0), (250.0, 0.0)],
            }],
            band: Some((200.0, 250.0)),
        };
        let svg = chart.svg();
        assert!(svg.contains("points=\"58.0,37.0 "), "{svg}");
        assert!(svg.contains("class=\"band\""));
    }

    #[test]
    fn nothing_to_show_is_no_number_that_is_none() {
        let chart = Chart {
            title: "Nothing",
            unit: "s",
            series: vec![],
            band: None,
        };
        assert!(!chart.svg().contains("NaN"));
    }
}
