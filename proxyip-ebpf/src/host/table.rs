//! The contents of the hash tables of the simulated kernel.

use core::mem::MaybeUninit;
use std::{collections::BTreeMap, ptr};

use super::numbers::E2BIG;

pub(crate) struct Element<V> {
    used: u64,
    value: Box<MaybeUninit<V>>,
}

/// The contents of a hash table.
pub(crate) struct Table<V> {
    clock: u64,
    pub(crate) elements: BTreeMap<Box<[u8]>, Element<V>>,
    /// What is done after the next lookup, once.
    pub(crate) meanwhile: Option<Box<dyn FnOnce()>>,
    /// The memory of elements that are gone, which the next ones get; `None` if it is freed.
    pub(crate) gone: Option<Vec<Box<MaybeUninit<V>>>>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { clock: 0, elements: BTreeMap::new(), meanwhile: None, gone: None }
    }
}

impl<V> Table<V> {
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<*mut V> {
        self.clock += 1;
        let element = self.elements.get_mut(key)?;
        element.used = self.clock;
        Some(element.value.as_mut_ptr())
    }

    pub(crate) fn insert(
        &mut self,
        key: &[u8],
        value: Box<MaybeUninit<V>>,
        most: usize,
        evicts: bool,
    ) -> Result<(), i32> {
        if !self.elements.contains_key(key) && self.elements.len() >= most {
            if !evicts {
                return Err(E2BIG as i32);
            }
            let oldest = self.elements.iter().min_by_key(|(_, element)| element.used);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| self.elements.remove(&key));
        }
        self.clock += 1;
        let mut value = value;
        if let Some(mut memory) = self.gone.as_mut().and_then(Vec::pop) {
            // SAFETY: both are one value, which is copied bit by bit.
            unsafe { ptr::copy_nonoverlapping(value.as_ptr(), memory.as_mut_ptr(), 1) };
            value = memory;
        }
        let old = self.elements.insert(key.into(), Element { used: self.clock, value });
        self.let_go(old);
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let old = self.elements.remove(key);
        let removed = old.is_some();
        self.let_go(old);
        removed
    }

    fn let_go(&mut self, old: Option<Element<V>>) {
        if let (Some(gone), Some(old)) = (&mut self.gone, old) {
            gone.push(old.value);
        }
    }
}
