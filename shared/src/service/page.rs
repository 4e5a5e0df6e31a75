//! Lists: a page that a caller asks for, gathered from pages of the table.

use crate::store::{Page, Position};

/// The part of a list that a caller asks for.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The most items in the answer.
    pub limit: usize,
    pub after: Option<Position>,
}

/// Part of a list.
#[derive(Debug)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Where the list continues; `None` at its end.
    pub next: Option<Position>,
}

/// Gathers the items of an answer from pages of the table.
pub(super) struct Gather<'a, T> {
    request: &'a PageRequest,
    items: Vec<T>,
    last: Option<Position>,
    pages: usize,
    is_complete: bool,
}

impl<'a, T> Gather<'a, T> {
    /// How many pages of the table one answer may read. With a filter that matches little, the answer then has fewer
    /// items than asked for, and a cursor.
    const PAGES: usize = 10;

    pub fn new(request: &'a PageRequest) -> Self {
        Self {
            request,
            items: Vec::with_capacity(request.limit),
            last: request.after.clone(),
            pages: 0,
            is_complete: false,
        }
    }

    /// How many items to read at a time, of a list that shows all of them or only some.
    pub fn page_size(&self, is_filtered: bool) -> i32 {
        // One more than fits tells whether there is more.
        let size = if is_filtered {
            250
        } else {
            self.request.limit + 1
        };
        i32::try_from(size).unwrap_or(i32::MAX)
    }

    /// Where the next page of the table begins.
    pub fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Takes the items of a page for which `show` has an answer. True when the list needs no further page.
    pub fn take<I>(
        &mut self,
        page: Page<I>,
        position: impl Fn(&I) -> Position,
        show: impl Fn(I) -> Option<T>,
    ) -> bool {
        self.pages += 1;
        for item in page.items {
            if self.items.len() == self.request.limit {
                return true;
            }
            self.last = Some(position(&item));
            self.items.extend(show(item));
        }
        self.is_complete = !page.has_more;
        self.is_complete || self.pages == Self::PAGES
    }

    pub fn finish(self) -> Listing<T> {
        Listing {
            items: self.items,
            next: self.last.filter(|_| !self.is_complete),
        }
    }
}
