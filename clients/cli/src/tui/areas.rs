//! Where things are drawn. What there is no room for has no cells.

use ratatui::layout::Rect;

use super::model::{Focus, Model};

/// From so many columns on there are two panes, and three.
const TWO_PANES: u16 = 60;
const THREE_PANES: u16 = 100;
const LIST: u16 = 22;
const WIDE_LIST: u16 = 26;
const MEMBERS: u16 = 20;
/// Cells before what is written.
pub(crate) const PROMPT: u16 = 2;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Areas {
    pub(crate) list: Rect,
    pub(crate) header: Rect,
    pub(crate) timeline: Rect,
    /// Who is writing, and how things went.
    pub(crate) status: Rect,
    /// Between the timeline and the composer.
    pub(crate) rule: Rect,
    pub(crate) composer: Rect,
    pub(crate) members: Rect,
    pub(crate) footer: Rect,
}

impl Areas {
    pub(crate) fn of(model: &Model) -> Self {
        let (width, height) = model.size;
        let mut areas = Self::default();
        let mut body = Rect::new(0, 0, width, height);
        if height >= 5 {
            body.height -= 1;
            areas.footer = Rect::new(0, body.height, width, 1);
        }
        let alone = model.focus == Focus::List || model.open.is_none();
        match width {
            ..TWO_PANES if alone => {
                areas.list = body;
                // How things went is told there as well.
                if body.height >= 2 {
                    areas.list.height -= 1;
                    areas.status = Rect::new(0, areas.list.height, width, 1);
                }
                return areas;
            }
            ..TWO_PANES => {}
            _ => {
                let list = if width >= THREE_PANES { WIDE_LIST } else { LIST };
                areas.list = Rect { width: list, ..body };
                body = Rect { x: list + 1, width: width - list - 1, ..body };
            }
        }
        if width >= THREE_PANES {
            body.width -= MEMBERS + 1;
            areas.members = Rect { x: body.right() + 1, width: MEMBERS, ..body };
        }
        areas.middle(model, body);
        areas
    }

    fn middle(&mut self, model: &Model, body: Rect) {
        let row = |y: u16| Rect { y, height: 1, ..body };
        let mut top = body.y;
        if body.height >= 4 {
            self.header = row(top);
            top += 1;
        }
        let cells = usize::from(body.width.saturating_sub(PROMPT + 1)).max(1);
        let written = model.writing().map_or(1, |writing| writing.composer.rows(cells).len());
        let most = (body.height / 3).max(1);
        let composer = (written.min(usize::from(most)) as u16).clamp(1, most).min(body.height);
        let mut bottom = body.bottom() - composer;
        self.composer = Rect { y: bottom, height: composer, ..body };
        if bottom.saturating_sub(top) >= 4 {
            bottom -= 1;
            self.rule = row(bottom);
        }
        if bottom.saturating_sub(top) >= 2 {
            bottom -= 1;
            self.status = row(bottom);
        }
        self.timeline = Rect { y: top, height: bottom.saturating_sub(top), ..body };
    }

    /// Cells for what is written.
    pub(crate) fn writing_width(&self) -> usize {
        usize::from(self.composer.width.saturating_sub(PROMPT + 1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::tests::samples;

    #[test]
    fn everything_is_on_the_screen_and_nothing_over_another() {
        let mut model = samples::model();
        for width in (0..140).step_by(3) {
            for height in 0..40 {
                for focus in [Focus::Composer, Focus::List] {
                    (model.size, model.focus) = ((width, height), focus);
                    let areas = Areas::of(&model);
                    let all = [
                        areas.list,
                        areas.header,
                        areas.timeline,
                        areas.status,
                        areas.rule,
                        areas.composer,
                        areas.members,
                        areas.footer,
                    ];
                    for (index, area) in all.iter().enumerate().filter(|(_, area)| !area.is_empty()) {
                        assert!(area.right() <= width && area.bottom() <= height, "{width}x{height}: {areas:?}");
                        let over = all[..index].iter().any(|other| other.intersects(*area) && !other.is_empty());
                        assert!(!over, "{width}x{height}: {areas:?}");
                    }
                }
            }
        }
    }
}
