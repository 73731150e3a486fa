//! A dashboard as Grafana reads it, from a short description.

use std::path::Path;

use serde_json::{Value, json};

/// Columns of Grafana's grid.
const GRID: usize = 24;
/// Height of a panel in rows of the grid.
const HEIGHT: usize = 8;

/// A dashboard: a file of its own.
pub(super) struct Board {
    /// From the top of the repository. Its name is that of the dashboard in links.
    pub(super) file: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// One picture.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    /// Of Grafana's list: `short`, `s`, `reqps`, `percentunit`, `bytes`, `d`.
    pub(super) unit: &'static str,
    pub(super) shape: Shape,
    pub(super) lines: Vec<Line>,
}

/// How it is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Curves over time.
    Curves,
    /// The last value, large.
    Number,
}

impl Shape {
    fn width(self) -> usize {
        match self {
            Self::Curves => 12,
            Self::Number => 6,
        }
    }
}

/// One query. In it `$ns` stands for the chosen installations, `$rate` for a window that fits the time shown.
pub(super) struct Line {
    pub(super) expr: String,
    /// What a curve is called, in Grafana's template.
    pub(super) legend: &'static str,
}

impl Line {
    pub(super) fn new(expr: impl Into<String>, legend: &'static str) -> Self {
        Self { expr: expr.into(), legend }
    }

    /// The query with what stands for something replaced.
    pub(super) fn query(&self, namespace: &str, rate: &str) -> String {
        self.expr.replace("$ns", &format!("namespace=~\"{namespace}\"")).replace("$rate", rate)
    }
}

impl Board {
    /// The file.
    pub(super) fn render(&self) -> String {
        let name = Path::new(self.file).file_stem().unwrap_or_default().to_string_lossy();
        let dashboard = json!({
            "uid": format!("qpc-{name}"),
            "title": format!("quicprochat / {}", self.title),
            "description": self.about,
            "tags": ["quicprochat"],
            "editable": false,
            "schemaVersion": 39,
            "version": 1,
            "refresh": "30s",
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "graphTooltip": 1,
            "links": [{
                "type": "dashboards", "title": "quicprochat", "tags": ["quicprochat"],
                "asDropdown": true, "includeVars": true, "keepTime": true,
            }],
            "templating": { "list": [
                { "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus" },
                {
                    "name": "namespace", "label": "Installation", "type": "query", "datasource": datasource(),
                    "query": { "query": "label_values(qpc_build_info, namespace)", "refId": "namespace" },
                    "refresh": 2, "includeAll": true, "multi": true, "allValue": ".*",
                    "current": { "text": "All", "value": "$__all" },
                },
            ] },
            "panels": self.panels(),
        });
        // Value's maps are sorted, so that the same description gives the same file.
        format!("{dashboard:#}\n")
    }

    fn panels(&self) -> Vec<Value> {
        let (mut x, mut y) = (0, 0);
        let place = |(index, panel): (usize, &Panel)| {
            let width = panel.shape.width();
            if x + width > GRID {
                (x, y) = (0, y + HEIGHT);
            }
            let drawn = panel.render(index + 1, x, y);
            x += width;
            drawn
        };
        self.panels.iter().enumerate().map(place).collect()
    }
}

impl Panel {
    fn render(&self, id: usize, x: usize, y: usize) -> Value {
        let target = |(index, line): (usize, &Line)| {
            let letter = char::from(b'A' + u8::try_from(index).unwrap_or(25));
            json!({
                "refId": letter.to_string(),
                "datasource": datasource(),
                "expr": line.query("$namespace", "$__rate_interval"),
                "legendFormat": line.legend,
                "exemplar": self.shape == Shape::Curves && line.expr.contains("_bucket"),
            })
        };
        let targets: Vec<Value> = self.lines.iter().enumerate().map(target).collect();
        let (kind, options) = match self.shape {
            Shape::Curves => (
                "timeseries",
                json!({
                    "legend": { "displayMode": "list", "placement": "bottom" },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                }),
            ),
            Shape::Number => ("stat", json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "graphMode": "area" })),
        };
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.about,
            "datasource": datasource(),
            "gridPos": { "x": x, "y": y, "w": self.shape.width(), "h": HEIGHT },
            "fieldConfig": { "defaults": { "unit": self.unit, "min": 0 }, "overrides": [] },
            "options": options,
            "targets": targets,
        })
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::{metrics, observe::boards, repo};

    #[test]
    fn dashboards_ask_for_metrics_that_there_are_and_panels_do_not_overlap() {
        let names = metrics::names(&repo::root()).unwrap();
        for board in boards::all() {
            let file: Value = serde_json::from_str(&board.render()).unwrap();
            let mut cells = BTreeSet::new();
            for panel in file["panels"].as_array().unwrap() {
                let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
                for x in of("x")..of("x") + of("w") {
                    assert!(x < 24 && cells.insert((x, of("y"))), "{} {}", board.file, panel["title"]);
                }
                for target in panel["targets"].as_array().unwrap() {
                    let expr = target["expr"].as_str().unwrap();
                    assert!(!expr.contains("$ns") && expr.contains(r#"namespace=~"$namespace""#), "{expr}");
                    let unknown: Vec<_> =
                        metrics::used(expr).into_iter().filter(|name| !names.contains(*name)).collect();
                    assert!(unknown.is_empty(), "{}: {unknown:?}", board.file);
                }
            }
        }
    }
}
