//! Policies and the scopes of sets as maps hold them: in words that say whose they are.
//!
//! Since Linux 6.1, the element of a replaced value may get the value of another key at once, while a program still has
//! it. The kernel copies values by whole words. So a program reads each word once, and sees in it whose it is.

use core::num::NonZeroU64;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::settings::Policy;

/// Where the number of its owner begins in a word.
const OWNER_AT: u32 = 32;
/// Bits of a listener's number, and one.
const OWNER: u64 = 0xffff;
/// Where the answers begin in the first word, each of two bits.
const ANSWERS_AT: u32 = 48;
/// The bits of an answer.
const ANSWER: u64 = 3;

/// A [`Policy`] as `POLICIES` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct PolicyWords {
    /// See [`Rules`].
    pub rules: u64,
    /// The mark in the lower half, and the owner.
    pub mark: u64,
}

impl PolicyWords {
    /// The policy of this listener.
    #[must_use]
    pub const fn new(listener: u16, policy: &Policy) -> Self {
        let owner = (listener as u64 + 1) << OWNER_AT;
        let answers = [policy.untrusted, policy.denied, policy.otherwise, policy.judges];
        let mut rules = owner | policy.scope as u64;
        let mut place = 0;
        while place < answers.len() {
            rules |= (answers[place] as u64 & ANSWER) << (ANSWERS_AT + 2 * place as u32);
            place += 1;
        }
        Self { rules, mark: owner | policy.mark as u64 }
    }

    /// The policy; `None` if it is another listener's.
    #[must_use]
    pub fn policy(self, listener: u16) -> Option<Policy> {
        let rules = Rules::read(self.rules, listener)?;
        Some(Policy {
            scope: rules.scope(),
            mark: mark(self.mark, listener)?,
            untrusted: rules.untrusted(),
            denied: rules.denied(),
            otherwise: rules.otherwise(),
            judges: u8::from(rules.judges()),
            reserved: [0; 4],
        })
    }
}

/// All of a policy but the mark, in one word: the scope in the lower half, the owner, and the answers.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(NonZeroU64);

impl Rules {
    /// The rules in a word; `None` if they are another listener's.
    #[inline(always)]
    #[must_use]
    pub fn read(word: u64, listener: u16) -> Option<Self> {
        if word >> OWNER_AT & OWNER == u64::from(listener) + 1 {
            NonZeroU64::new(word).map(Self)
        } else {
            None
        }
    }

    /// [`Policy::scope`].
    #[inline(always)]
    #[must_use]
    pub const fn scope(self) -> u32 {
        self.0.get() as u32
    }

    /// [`Policy::untrusted`].
    #[inline(always)]
    #[must_use]
    pub const fn untrusted(self) -> u8 {
        self.answer(0)
    }

    /// [`Policy::denied`].
    #[inline(always)]
    #[must_use]
    pub const fn denied(self) -> u8 {
        self.answer(1)
    }

    /// [`Policy::otherwise`].
    #[inline(always)]
    #[must_use]
    pub const fn otherwise(self) -> u8 {
        self.answer(2)
    }

    /// [`Policy::judges`].
    #[inline(always)]
    #[must_use]
    pub const fn judges(self) -> bool {
        self.answer(3) != 0
    }

    #[inline(always)]
    const fn answer(self, place: u32) -> u8 {
        (self.0.get() >> (ANSWERS_AT + 2 * place) & ANSWER) as u8
    }
}

/// The mark in a word of [`PolicyWords`]; `None` if it is another listener's.
#[inline(always)]
#[must_use]
pub const fn mark(word: u64, listener: u16) -> Option<u32> {
    if word >> OWNER_AT == listener as u64 + 1 { Some(word as u32) } else { None }
}

/// The scope of a set as `SETS` has it: in the lower half, and behind it the set's number.
#[must_use]
pub const fn set_word(set: u32, scope: u32) -> u64 {
    (set as u64) << OWNER_AT | scope as u64
}

/// The scope in a [`set_word`]; `None` if it is another set's.
#[inline(always)]
#[must_use]
pub const fn scope_of_set(word: u64, set: u32) -> Option<u32> {
    if word >> OWNER_AT == set as u64 { Some(word as u32) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Denied, MAX_LISTENERS, Untrusted, access};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_policy_is_read_as_it_was_written_and_by_its_listener_alone(
            scope: u32, mark: u32, answers in [0u8..3, 0u8..3, 0u8..4, 0u8..2],
            listener in 0..MAX_LISTENERS as u16, other in 0..MAX_LISTENERS as u16,
        ) {
            let [untrusted, denied, otherwise, judges] = answers;
            let policy =
                Policy { scope, mark, untrusted, denied, otherwise, judges, reserved: [0; 4] };
            let words = PolicyWords::new(listener, &policy);
            prop_assert_eq!(words.policy(listener), Some(policy));
            if other != listener {
                prop_assert_eq!(Rules::read(words.rules, other), None);
                prop_assert_eq!(super::mark(words.mark, other), None);
            }
        }

        #[test]
        fn a_scope_is_read_by_its_set_alone(set: u32, other: u32, scope: u32) {
            prop_assert_eq!(scope_of_set(set_word(set, scope), set), Some(scope));
            prop_assert_eq!(scope_of_set(set_word(set, scope), other).is_some(), set == other);
        }
    }

    #[test]
    fn each_answer_fits() {
        let most =
            [Untrusted::Drop as u8, Denied::Mark as u8, access::ALLOW | access::FROM_COMMAND];
        assert!(most.into_iter().all(|answer| u64::from(answer) <= ANSWER));
        assert!(u64::from(MAX_LISTENERS) < OWNER);
    }

    #[test]
    fn an_empty_element_is_nobodys() {
        assert_eq!(Rules::read(0, 0), None);
        assert_eq!(mark(0, 0), None);
    }
}
