//! Consumer groups of the classic protocol (eager and cooperative): who is a member, who has which assignment, what was committed.

pub(crate) mod coordinator;
pub(crate) mod machine;
pub(crate) mod member;
pub(crate) mod store;
