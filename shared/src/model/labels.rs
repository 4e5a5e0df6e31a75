//! The labels of access keys.

use std::collections::BTreeSet;

use serde::Serialize;

use super::name::Name;

/// The labels of a key, sorted. Each label follows the rules for a [`Name`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Labels(BTreeSet<String>);

impl Labels {
    /// The maximum number of labels of a key.
    pub const MOST: usize = 10;

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn contains(&self, label: &Name) -> bool {
        self.0.contains(label.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromIterator<Name> for Labels {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().map(|name| name.to_string()).collect())
    }
}

/// Does not check the labels again, because they come from the table.
impl From<BTreeSet<String>> for Labels {
    fn from(stored: BTreeSet<String>) -> Self {
        Self(stored)
    }
}

impl From<Labels> for BTreeSet<String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}
