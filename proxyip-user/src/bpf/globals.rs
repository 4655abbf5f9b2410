//! Numbers that programs get before they are loaded.

use anyhow::{Context, Result};
use proxyip_common::settings::{MAX_NAMESPACES, MAX_SETS, front};

/// The numbers from 0 on, and [`front::NONE`]: the library borrows the values of globals for as long as it lives.
static NUMBERS: [u32; MOST as usize + 1] = {
    let mut numbers = [0; MOST as usize + 1];
    numbers[MOST as usize] = front::NONE;
    let mut number = 0;
    while number < MOST {
        numbers[number as usize] = number;
        number += 1;
    }
    numbers
};
/// As many as there are namespaces or sets.
const MOST: u32 = if MAX_NAMESPACES > MAX_SETS { MAX_NAMESPACES } else { MAX_SETS };

/// A number that lives long enough.
pub(super) fn number(value: u32) -> Result<&'static u32> {
    let at = if value == front::NONE { MOST } else { value };
    NUMBERS.get(at as usize).context("there are not so many places")
}
