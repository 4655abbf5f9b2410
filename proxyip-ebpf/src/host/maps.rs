//! Maps in the memory of one thread, keyed by the addresses of their definitions.
//!
//! Elements are copied bit by bit, as the kernel does. An element that is removed or replaced is freed at once: a
//! program that still uses it is found out by AddressSanitizer.

use core::{borrow::Borrow, marker::PhantomData, mem::MaybeUninit};
use std::{any::Any, cell::RefCell, collections::BTreeMap, ptr, slice};

use super::{
    bindings::BPF_EXIST,
    numbers::{E2BIG, ENOENT},
    state,
    table::Table,
};

pub use super::{
    programs::SkStorage,
    state::ring::{RingBuf, RingBufEntry},
};

thread_local! {
    static MAPS: RefCell<BTreeMap<usize, Box<dyn Any>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Empties every map.
pub fn clear() {
    MAPS.with(|maps| maps.borrow_mut().clear());
}

/// Does something with the contents of a map.
pub(crate) fn contents<C: Default + 'static, R>(map: usize, act: impl FnOnce(&mut C) -> R) -> R {
    MAPS.with(|maps| {
        let mut maps = maps.borrow_mut();
        let contents = maps.entry(map).or_insert_with(|| Box::new(C::default()));
        act(contents.downcast_mut().expect("each map has contents of one type"))
    })
}

fn bytes<T>(value: &T) -> &[u8] {
    // SAFETY: as many bytes as the value has; keys have no padding, which the verifier would refuse.
    unsafe { slice::from_raw_parts(ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The elements of an array, all zero at first. Each has memory of its own, once it is used.
struct Slots<T>(BTreeMap<u32, Box<MaybeUninit<T>>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

macro_rules! arrays {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        pub struct $name<T, const N: usize, const FLAGS: usize = 0> {
            // Each definition needs an address of its own.
            address: u8,
            element: PhantomData<fn() -> T>,
        }

        impl<T: 'static, const N: usize, const FLAGS: usize> $name<T, N, FLAGS> {
            /// The definition.
            #[allow(clippy::new_without_default, reason = "made in statics only")]
            pub const fn new() -> Self {
                Self { address: 0, element: PhantomData }
            }

            /// The element, to be changed.
            pub fn get_ptr_mut(&self, index: u32) -> Option<*mut T> {
                contents(&raw const self.address as usize, |slots: &mut Slots<T>| {
                    let slot = slots.0.entry(index).or_insert_with(Box::new_zeroed);
                    ((index as usize) < N).then(|| slot.as_mut_ptr())
                })
            }

            /// The element.
            pub fn get(&self, index: u32) -> Option<&T> {
                // SAFETY: zero at first, or written by a program; it stays where it is until the map is emptied.
                self.get_ptr_mut(index).map(|element| unsafe { &*element })
            }
        }
    )*};
}

arrays! {
    /// An array.
    Array
    /// An array with elements for each CPU; the simulation has one CPU.
    PerCpuArray
}

/// An array of programs.
pub struct ProgramArray<const N: usize>;

impl<const N: usize> ProgramArray<N> {
    /// The definition.
    #[allow(clippy::new_without_default, reason = "made in statics only")]
    pub const fn new() -> Self {
        Self
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident $evicts:literal)*) => {$(
        $(#[$doc])*
        pub struct $name<K, V, const N: usize, const FLAGS: usize = 0> {
            address: u8,
            element: PhantomData<fn() -> (K, V)>,
        }

        impl<K: 'static, V: 'static, const N: usize, const FLAGS: usize> $name<K, V, N, FLAGS> {
            /// The definition.
            #[allow(clippy::new_without_default, reason = "made in statics only")]
            pub const fn new() -> Self {
                Self { address: 0, element: PhantomData }
            }

            fn table<R>(&self, act: impl FnOnce(&mut Table<V>) -> R) -> R {
                contents(&raw const self.address as usize, act)
            }

            /// The value under this key, to be changed.
            pub fn get_ptr_mut(&self, key: impl Borrow<K>) -> Option<*mut V> {
                let found = self.table(|table| table.get(bytes(key.borrow())));
                let meanwhile = self.table(|table| table.meanwhile.take());
                if let Some(meanwhile) = meanwhile {
                    meanwhile();
                }
                found
            }

            /// Does something directly after the next lookup, as another CPU may. From now on elements get the memory of
            /// those that are gone, as since Linux 6.1, and it is not freed.
            pub fn meanwhile(&self, act: impl FnOnce() + 'static) {
                self.table(|table| {
                    table.meanwhile = Some(Box::new(act));
                    table.gone.get_or_insert_default();
                });
            }

            /// The value under this key.
            pub fn get_ptr(&self, key: impl Borrow<K>) -> Option<*const V> {
                self.get_ptr_mut(key).map(<*mut V>::cast_const)
            }

            /// The value under this key.
            ///
            /// # Safety
            /// It may be used until the next change of the map.
            pub unsafe fn get(&self, key: impl Borrow<K>) -> Option<&V> {
                // SAFETY: initialised when it was inserted; the caller's promise.
                self.get_ptr_mut(key).map(|value| unsafe { &*value })
            }

            /// Puts a copy of the value under the key.
            ///
            /// # Errors
            /// If the map is full.
            pub fn insert(
                &self,
                key: impl Borrow<K>,
                value: impl Borrow<V>,
                flags: u64,
            ) -> Result<(), i32> {
                if state::fails() {
                    return Err(E2BIG as i32);
                }
                let key = bytes(key.borrow());
                if flags == BPF_EXIST.into() && !self.table(|table| table.elements.contains_key(key)) {
                    return Err(ENOENT as i32);
                }
                let mut copy = Box::<V>::new_uninit();
                // SAFETY: both are one value.
                unsafe { ptr::copy_nonoverlapping(value.borrow(), copy.as_mut_ptr(), 1) };
                let most = N.min(state::with(|state| state.largest_table));
                self.table(|table| table.insert(key, copy, most, $evicts))
            }

            /// Removes what is under the key.
            ///
            /// # Errors
            /// If there is nothing.
            pub fn remove(&self, key: impl Borrow<K>) -> Result<(), i32> {
                let removed = self.table(|table| table.remove(bytes(key.borrow())));
                if removed { Ok(()) } else { Err(ENOENT as i32) }
            }

            /// How many elements there are; for tests.
            pub fn count(&self) -> usize {
                self.table(|table| table.elements.len())
            }
        }
    )*};
}

tables! {
    /// A hash table, which can be full.
    HashMap false
    /// A hash table that evicts its oldest element.
    LruHashMap true
}

/// A trie of prefixes.
pub struct LpmTrie<K, V, const N: usize> {
    address: u8,
    element: PhantomData<fn() -> (K, V)>,
}

/// Keys of tries.
pub mod lpm_trie {
    /// A prefix.
    #[repr(C, packed)]
    pub struct Key<K> {
        /// How many bits count.
        pub prefix_len: u32,
        /// The bits.
        pub data: K,
    }

    impl<K> Key<K> {
        /// The first `prefix_len` bits of `data`.
        pub const fn new(prefix_len: u32, data: K) -> Self {
            Self { prefix_len, data }
        }
    }
}

type Prefixes<V> = Vec<(u32, Box<[u8]>, Box<V>)>;

impl<K: Copy + 'static, V: 'static, const N: usize> LpmTrie<K, V, N> {
    /// The definition.
    #[allow(clippy::new_without_default, reason = "made in statics only")]
    pub const fn new() -> Self {
        Self { address: 0, element: PhantomData }
    }

    /// The value of the longest prefix.
    pub fn get(&self, key: &lpm_trie::Key<K>) -> Option<&V> {
        let (length, data) = (key.prefix_len, key.data);
        let data = bytes(&data);
        contents(&raw const self.address as usize, |prefixes: &mut Prefixes<V>| {
            let matching = prefixes
                .iter()
                .filter(|(prefix, bits, _)| *prefix <= length && agree(bits, data, *prefix));
            let longest = matching.max_by_key(|(prefix, ..)| *prefix);
            // SAFETY: boxed, and kept until the map is emptied.
            longest.map(|(.., value)| unsafe { &*ptr::from_ref(&**value) })
        })
    }

    /// Puts a value under a prefix; for the agent.
    pub fn insert(&self, key: &lpm_trie::Key<K>, value: V) {
        let (length, data) = (key.prefix_len, key.data);
        contents(&raw const self.address as usize, |prefixes: &mut Prefixes<V>| {
            prefixes.push((length, bytes(&data).into(), Box::new(value)));
        });
    }
}

/// Whether the first `length` bits are the same.
fn agree(left: &[u8], right: &[u8], length: u32) -> bool {
    let (whole, bits) = (length as usize / 8, length % 8);
    let last = |bytes: &[u8]| bytes.get(whole).map_or(0, |byte| u16::from(*byte) >> (8 - bits));
    left[..whole] == right[..whole] && last(left) == last(right)
}
