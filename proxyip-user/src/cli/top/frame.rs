//! What a frame shows.

use super::state::Top;
use super::theme::Theme;

/// A frame of what is known.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) top: &'a Top,
    pub(super) theme: Theme,
    /// There are keys to press, and a rate that changes.
    pub(super) live: bool,
}
