//! What a header is read from.

/// The longest header that is read as a whole, in bytes, of either version. Of a [`long`](super::long) one as many are kept.
pub const MAX_LENGTH: usize = 4096;

/// The bytes that a header is read from: the start of a connection's payload.
pub trait Source {
    /// How many bytes there are.
    fn length(&self) -> usize;

    /// The `N` bytes at `offset`; `None` if they are not all there.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The byte at `offset`, which is there; of any value if it is not.
    #[inline(always)]
    fn byte(&self, offset: usize) -> u8 {
        self.read::<1>(offset).map_or(0, |[byte]| byte)
    }
}

impl Source for [u8] {
    #[inline(always)]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }
}
