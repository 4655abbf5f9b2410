//! From events to the flow log, and the memory of TLVs.

pub(crate) mod fields;
pub mod flow;
pub mod flows;
pub mod journal;
pub mod line;
pub(crate) mod lines;
pub mod losses;
pub mod period;
pub mod queue;
pub mod recorder;
pub mod text;
pub mod tlvs;
pub mod vpc;
pub mod waiting;
pub mod warnings;
pub mod writer;
