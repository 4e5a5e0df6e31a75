//! Assembles the requested page of a list from pages that are read from the table.

use crate::store::{Page, Position};

/// A request for one page of a list.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The maximum number of items in the response.
    pub limit: usize,
    pub after: Option<Position>,
}

#[derive(Debug)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// How many items were examined, including those that a filter left out.
    pub examined: usize,
    /// How many items were left out because they cannot be read.
    pub skipped: usize,
    /// The position at which the list continues; `None` at the end of the list.
    pub next: Option<Position>,
}

impl<T> Listing<T> {
    pub(super) const fn empty() -> Self {
        Self {
            items: Vec::new(),
            examined: 0,
            skipped: 0,
            next: None,
        }
    }
}

/// Gathers the items of a response from pages of the table.
pub(super) struct Gather<'a, T> {
    request: &'a PageRequest,
    items: Vec<T>,
    last: Option<Position>,
    pages: usize,
    examined: usize,
    skipped: usize,
    is_complete: bool,
}

impl<'a, T> Gather<'a, T> {
    /// The maximum number of pages of the table to read for one response.
    const PAGES: usize = 10;
    /// The maximum number of items to examine for one response. If a filter matches few items, the response may contain
    /// fewer items than requested and still have a cursor.
    const MOST_EXAMINED: usize = 1000;

    pub fn new(request: &'a PageRequest) -> Self {
        Self {
            request,
            items: Vec::with_capacity(request.limit),
            last: request.after.clone(),
            pages: 0,
            examined: 0,
            skipped: 0,
            is_complete: false,
        }
    }

    /// Returns the number of items to read at a time, which depends on whether a filter leaves out some items.
    pub fn page_size(&self, is_filtered: bool) -> i32 {
        // One item beyond the limit shows whether there are more.
        let size = if is_filtered {
            250
        } else {
            self.request.limit + 1
        };
        i32::try_from(size).unwrap_or(i32::MAX)
    }

    /// Returns the position at which the next page of the table begins.
    pub fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Passes the items of a page to `show` and gathers what it returns, until the limit is reached. Returns true if no
    /// further page is needed.
    pub fn take<I>(
        &mut self,
        page: Page<I>,
        position: impl Fn(&I) -> Position,
        show: impl Fn(I) -> Option<T>,
    ) -> bool {
        self.pages += 1;
        self.skipped += page.skipped;
        for item in page.items {
            if self.items.len() == self.request.limit || self.examined == Self::MOST_EXAMINED {
                return true;
            }
            self.examined += 1;
            self.last = Some(position(&item));
            self.items.extend(show(item));
        }
        self.is_complete = page.next.is_none();
        // The last items of the page may be damaged, and damaged items have no position. The next page therefore begins
        // at `page.next`.
        self.last = page.next.or(self.last.take());
        let examined = self.examined + self.skipped;
        self.is_complete || self.pages == Self::PAGES || examined >= Self::MOST_EXAMINED
    }

    pub fn finish(self) -> Listing<T> {
        Listing {
            items: self.items,
            examined: self.examined,
            skipped: self.skipped,
            next: self.last.filter(|_| !self.is_complete),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_whose_filter_matches_nothing_stops_after_a_thousand_items() {
        let request = PageRequest {
            limit: 50,
            after: None,
        };
        let position = |id: &u32| Position::after_user(&format!("u{id}").parse().unwrap());
        for skipped in [0, 200] {
            let mut gather = Gather::<u32>::new(&request);
            let size = u32::try_from(gather.page_size(true)).unwrap() - skipped;
            let mut read = 0;
            loop {
                let items: Vec<u32> = (read..read + size).collect();
                read += size + skipped;
                let page = Page {
                    next: items.last().map(position),
                    items,
                    skipped: skipped as usize,
                };
                if gather.take(page, position, |_| None) {
                    break;
                }
            }
            let listing = gather.finish();
            assert_eq!((read, listing.items.len()), (1000, 0));
            assert_eq!(listing.examined + listing.skipped, 1000);
            assert_eq!(listing.skipped, 4 * skipped as usize);
            assert!(listing.next.is_some());
        }
    }
}
