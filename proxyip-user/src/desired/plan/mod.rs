//! What to do, and in which order, so that what is there becomes what is wanted. Whoever writes takes one step after the
//! other.

pub(crate) mod interfaces;
pub(crate) mod policy;
